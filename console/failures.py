"""A failure that was to be expected → one line on standard error with what to do, and an exit status.

No traceback reaches a user: what was not expected is written to a log file under the state folder, and the line names that file.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from typer.exceptions import Abort, TyperException

from errors import FAILED, USAGE, ProtonovaError, UserError, one_line, say
from settings.private import private_file, private_folder

INTERRUPTED = 130
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or quota."""

Report = tuple[str, int]
"""The line and the exit status."""


def _expected(error: BaseException) -> Report | None:
    """What to say of an error we know, and the exit status; None: it was not expected."""
    if isinstance(error, ProtonovaError):
        hint = f" ({error.hint})" if error.hint else ""
        return f"{error}{hint}", error.code if isinstance(error, UserError) else FAILED
    if isinstance(error, TyperException):  # a bad flag, a missing argument
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return f"{message} (protonova --help lists commands and flags)", USAGE
    if (line := _by_the_client(error)) is not None:
        return line, FAILED
    if isinstance(error, OSError) and error.errno in FULL:
        return full_disk(error.filename or "the state folder"), FAILED
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or type(error).__name__}", FAILED
    return None


def _by_the_client(error: BaseException) -> str | None:
    """What the Kafka client's errors mean; None: it is none of them. The client is not imported for it: where it raised, it is there."""
    kafka = sys.modules.get("aiokafka.errors")
    if kafka is None or not isinstance(error, kafka.KafkaError):
        return None
    if isinstance(error, kafka.AuthenticationFailedError | kafka.SaslAuthenticationFailed | kafka.UnsupportedSaslMechanismError):
        return f"the Kafka broker {refused(one_line(error, 200))}"
    if isinstance(error, kafka.TopicAuthorizationFailedError | kafka.GroupAuthorizationFailedError | kafka.ClusterAuthorizationFailedError):
        return f"the Kafka broker denies it ({one_line(error, 200)}): the user needs more rights there (ACLs)"
    if isinstance(error, kafka.KafkaConnectionError | kafka.NodeNotReadyError | kafka.NoBrokersAvailable | kafka.KafkaTimeoutError):
        return f"the Kafka broker does not answer ({one_line(error, 200)}): start `protonova run`, or set PROTONOVA_KAFKA=host:port"
    if isinstance(error, kafka.RequestTimedOutError):
        return f"the Kafka broker is too slow ({one_line(error, 200)}): look at its log and its load"
    if isinstance(error, kafka.UnknownTopicOrPartitionError):
        return "the topic is not on the broker: `protonova topics --repair` makes ours"
    if getattr(error, "errno", None) is not None:  # any other answer of the broker
        return f"the Kafka broker refuses: {one_line(error, 300)}"
    return None


def refused(why: str) -> str:
    """What to say of a broker that does not accept who we are."""
    return f"refuses the user or the password ({why}): check PROTONOVA_KAFKA_SASL_USERNAME, _PASSWORD and _MECHANISM"


def full_disk(place: object) -> str:
    """What to say where a disk is full: what may be freed, and never anything that holds packets or scores."""
    return (
        f"no space is left on the disk of {place}: free some, of other files on that disk or of old logs under the state folder (its kafka"
        " folder holds the packets and scores: leave it), then start again; nothing that was acknowledged is lost"
    )


def _write_log(error: BaseException, state: Path) -> Path | None:
    """The traceback, in a file of its own under the state folder (None: it could not be written)."""
    path = state / "logs" / f"error-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    try:
        private_folder(path.parent)
        with open(private_file(path), "w", encoding="utf-8", errors="replace") as log:
            log.write(" ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error)))
    except OSError:
        return None
    return path


def guarded(body: Callable[[], int | None], state: Callable[[], Path]) -> int:
    """Run a command and turn whatever it raises into one line and an exit status.

    Parameters
    ----------
    body : callable
        The command; returns its exit status (None: 0).
    state : callable
        Where the state folder is, asked only when a log has to be written.
    """
    try:
        return body() or 0
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone (`protonova watch | head`): no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED if stop.code else 0
    except Exception as error:
        # Several failures of one task group count as their first.
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup) and first.exceptions:
            first = first.exceptions[0]
        if isinstance(first, KeyboardInterrupt):
            return INTERRUPTED
        known = _expected(first)
        if known is not None:
            say(known[0])
            return known[1]
        log = _write_log(first, state())
        where = f"the traceback is in {log}" if log else "its log could not be written"
        say(f"unexpected {type(first).__name__}: {one_line(first, 200)}; this is a fault of Protonova, {where}")
        return FAILED
