"""Records of our own that travel on a topic of ours.

in → a record, or bytes from a topic
out → its bytes in Confluent framing; the record, or what is wrong with the bytes

One `.avsc` and one small module a record; their ids stand in `table.py`, reading and writing of any of them in `codec.py`. A
detection has four forms: `dialects.py` writes them, `codec.py` reads them.
"""
