"""CCD images: calibration, cosmic rays, subtraction, detection, photometry.

in → a raw frame and the masters of its detector; a calibrated frame and its field's reference
out → electrons with variance and mask; sources, significance, forced fluxes, stamps

Arrays of any namespace of the array API standard, on the namespace's device; fused loops behind them in `operators/kernels`.
"""
