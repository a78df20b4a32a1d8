"""One Apache Kafka node on loopback, with nothing but Python installed.

in → a state folder
out → a broker that listens, its data under that folder
"""
