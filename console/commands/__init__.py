"""One file a command.

in → settings and the command's arguments
out → an exit status, and what the command prints or writes
"""
