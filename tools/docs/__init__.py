"""Programs that write pages and pictures of `docs/`.

in → the code, real light curves where they lie
out → tables of settings, topics and schemas; simulated beside real light curves
"""
