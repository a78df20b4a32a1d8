"""What observatories push over HTTP.

in → a request's body, compressed or not
out → packets on their topic, acknowledged by the broker, or the reason why not
"""
