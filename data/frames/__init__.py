"""Raw frames as files: read with distrust, calibrated ones written, masters and reference images found.

in → FITS files and claims of them, of whatever instrument
out → `RawFrame`, `Masters`, `Reference` (`operators.images.planes`), or a `FrameError` with a named reason; calibrated files
"""
