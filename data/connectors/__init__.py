"""Where archived packets come from.

in → paths: files, folders, archives, tables
out → packets, each with where it lay; what is not a packet, with a reason
"""
