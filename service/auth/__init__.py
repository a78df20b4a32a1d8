"""Who calls, what they may, and how often.

in → a request's credentials and address; the compacted topic of API keys; an issuer's keys
out → an `Identity`, or the reason why not; time to wait; a line of the audit log for every change
"""
