"""Packets to detections: the science as one pure function. Read `score.py` first.

in → packets (bytes) and a `ScoringState`
out → one `Detection` or `Rejected` a packet, in order

The worker, the replay command, the trainer's evaluation and the tests all call `score`.
"""
