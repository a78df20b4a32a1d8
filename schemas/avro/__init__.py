"""Avro without trusting a byte.

in → bytes of a packet; a writer schema and the wanted fields
out → where each wanted field lies, or a `PacketError`; bytes of records
"""
