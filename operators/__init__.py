"""Pure array functions on alerts.

in → an `AlertBatch` (columns, masks, raw stamps; NumPy or CuPy)
out → stamps, light-curve tokens, named features, class probabilities, novelty (arrays of the same namespace)

No clock, no network, no files. `types.py` holds every shape on one page.
"""
