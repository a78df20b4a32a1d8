"""What bytes mean.

in → packets as a survey sends them (Avro containers, Confluent framing), our own records
out → columns of an `AlertBatch`, or a reason why not; the bytes of our own records

`ztf.py`, `lsst.py` and `tess.py` are the only places that know a survey's field names.
"""
