"""Fused loops for NumPy arrays, each behind the operator that it speeds up and with that operator's array version as its oracle.

in → NumPy columns of an `AlertBatch`
out → the same arrays as the array version, five to ten times sooner on one core
"""
