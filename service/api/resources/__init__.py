"""The endpoints, one file a resource: its rows (`ROWS`), its models and its handlers.

in → a `Call`
out → an `Answer`
"""
