"""What bytes mean.

in → packets as a survey sends them (Avro containers, Confluent framing); records of ours
out → columns of an `AlertBatch`, or a reason why not; the bytes of our own records

`avro/` reads and writes bytes without trusting one; `surveys/` are the only places that know a survey's field names; `records/` are ours.
"""
