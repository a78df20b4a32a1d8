"""How records reach and leave the broker.

in → settings; records to send
out → topics as the wiring table has them, records delivered, offsets and lag
"""
