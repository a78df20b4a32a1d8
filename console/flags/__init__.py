"""What can be typed: a typed function a command, which checks its arguments and calls the command.

in → flags and arguments
out → a call of `console.commands`, and its exit status

Nothing heavy is imported here, so that ``--help`` answers at once: each function imports its command when it is called.
"""
