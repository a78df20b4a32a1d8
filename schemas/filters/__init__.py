"""What people write as a filter, and what it is asked of.

in → text as behind SQL's WHERE; records of detections
out → programs (`operators.filters`) and the columns that they read; a `FilterError` that points at what is wrong

`filter_fields` lists every field; docs/filter-fields.md is made of it. sqlglot is imported by `filter_expression` alone: the tree it makes
of a text is read node by node against a whitelist, and nothing of it is ever run.
"""
