"""What happens to records between the stream and the broker's acknowledgement.

in → packets, telemetry
out → outcomes of packets in order; drift alarms and retrain commands
"""
