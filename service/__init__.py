"""What people and machines call over HTTP, on Starlette.

in → requests; telemetry, alarms and detections from their topics
out → the status page, JSON, metrics, probes; our schemas by the API of Confluent's registry
"""
