"""Tests of the few-shot engine that one evaluation of one task does not make.

in → bundles and tables
out → JSON (``python -m tools.studies NAME --help``)

    ablation.py   what each input and each part of the head is worth; one table
    leave_out.py  a class that neither the encoder nor the simulation ever saw, against the encoder that saw it
    novel.py      kilonovae to a bundle that never saw one, and what a description of them adds
    rare.py       a rare class in a simulated stream; how much five detections give
    heads.py      another head for the same encoder: what changes on packets, and what a taught class costs and finds
    coverage.py   conformal sets and calibration where simulations are true
"""
