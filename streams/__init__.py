"""The flow.

in → packets on the alert topics, as the surveys send them
out → detections, rejected packets and telemetry, acknowledged by the broker before the input is

Read `wiring.py` first: it puts batcher, detector and deliverer together.
"""
