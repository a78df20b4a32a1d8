"""The status page.

in → telemetry, alarms and detections from their topics
out → a page, JSON, metrics, and our schemas by Confluent's registry API

`figures` folds messages, `feed` reads them from Kafka, `page` and `chart` draw them, `registry` serves the schemas, `app` is the ASGI
application.
"""
