"""The HTTP API under `/v1`: score, push, look up.

in → requests with a key or a token
out → JSON, tables (CSV, VOTable, Avro, Parquet) or problem+json; the OpenAPI description of the very same rows
"""
