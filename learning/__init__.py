"""How the network learns.

in → simulated alerts and light curves (`data.simulate`) and a seed
out → a bundle (`registry.bundle`): encoder, head, thresholds and the figures they reached

Read `train.py` first: simulate, train, export, calibrate, evaluate, write. torch lives here and in `gpu/eager.py` only; a worker
needs neither.
"""
