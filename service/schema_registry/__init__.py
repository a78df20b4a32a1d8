"""Our schemas by the read-only API of Confluent's schema registry.

in → requests of any Avro client
out → the schemas of what we publish, under ids that are fixed in the repository; the JSON Schema of what we publish as JSON
"""
