"""Records of our own that travel on a topic of ours.

in → a record, or bytes from a topic
out → its bytes in Confluent framing, or the record
"""
