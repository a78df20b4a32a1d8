"""Increments of light curves → whole light curves, and where they are kept between two increments.

in → `schemas.surveys.tess_increment.Increment`, a light curve so far
out → the light curve with it, the same whatever order increments come in
"""
