"""Each survey's packets.

in → packets (bytes) of any survey
out → columns of an `AlertBatch` in canonical units, or a reason why not

`ztf.py`, `lsst.py`, `tess.py` and `frame_alerts.py` are the only places that know a survey's field names.
"""
