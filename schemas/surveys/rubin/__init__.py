"""Names and types of Rubin's alert schemas, by Confluent id (100 · major + minor): what is needed to read the wire, and no more.

in → Rubin's alert schema files, through `python -m tools.rubin_schemas FOLDER`
out → ``<id>.json``
"""
