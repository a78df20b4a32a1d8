"""What people type.

in → a command line, settings
out → everything below it at work: the broker at hand, workers, pages; tables, files, one line for each failure

`cli.py` names every command; each has its file in `commands/`. `kafka_node/` is the Apache Kafka node that `protonova run` starts.
"""
