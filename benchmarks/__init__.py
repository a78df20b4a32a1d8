"""The naive stack beside ours, on the same packets in one run.

real ZTF packets → µs of CPU an alert by stage, alerts a second and core, latency through a real Kafka, and the ratios

`python -m benchmarks`, or `make bench`. The naive stack in `naive.py` is fixed: it is what a careful astronomer would write first, out of
the field's own libraries, and it does the same work (a test holds its embeddings, classes and features against ours).
"""
