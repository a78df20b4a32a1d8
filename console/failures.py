"""A failure that was to be expected → one line on standard error that says what to do, and an exit code.

No traceback reaches a user: what nobody expected is written to a log file under the state folder, and the line names that file.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from typer.exceptions import TyperException

from errors import FAILED, USAGE, UserError, one_line, say

INTERRUPTED = 130


def _expected(error: BaseException) -> tuple[str, int] | None:
    """What to say of an error we know, and the exit status; None: nobody expected it."""
    if isinstance(error, UserError):
        return str(error), error.code
    if isinstance(error, TyperException):  # a bad flag, a missing argument
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return f"{message} (protonova --help lists commands and flags)", USAGE
    name = type(error).__name__
    module = type(error).__module__.partition(".")[0]
    if name == "SettingsError" and module == "pydantic_settings":
        return str(error), USAGE
    if module == "aiokafka" and name in (
        "KafkaConnectionError",
        "NodeNotReadyError",
        "NoBrokersAvailable",
        "KafkaTimeoutError",
        "RequestTimedOutError",
    ):
        return f"the Kafka broker does not answer ({one_line(error, 200)}): start `protonova run`, or set PROTONOVA_KAFKA=host:port", FAILED
    if module == "aiokafka" and name in ("UnknownTopicOrPartitionError", "UnknownTopicError"):
        return "the topic is not on the broker: `protonova topics --repair` makes ours", FAILED
    if module == "aiokafka" and name in ("TopicAuthorizationFailedError", "AuthenticationFailedError", "UnsupportedSaslMechanismError"):
        return f"the Kafka broker refuses us ({name}): check PROTONOVA_KAFKA_SASL_* and PROTONOVA_KAFKA_SECURITY_PROTOCOL", FAILED
    if module == "aiokafka" and getattr(error, "errno", None) is not None:  # any other answer of the broker: no fault of ours
        return f"the Kafka broker refuses: {one_line(error, 300)}", FAILED
    if name in ("BundleError", "EngineError", "EngineFailure") and module in ("registry", "gpu", "streams"):
        return f"{error} (`protonova doctor` says what is there)", FAILED
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or name}", FAILED
    return None


def _write_log(error: BaseException, state: Path) -> Path | None:
    """The traceback, in a file of its own under the state folder (None: it could not be written)."""
    path = state / "logs" / f"error-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(sys.argv) + "\n\n" + "".join(traceback.format_exception(error)))
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
    except KeyboardInterrupt:
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
        if type(first).__name__ == "Abort" and type(first).__module__.startswith("typer"):
            return INTERRUPTED
        log = _write_log(first, state())
        where = f"the traceback is in {log}" if log else "its log could not be written"
        say(f"unexpected {type(first).__name__}: {one_line(first, 200)}; this is a fault of Protonova, {where}")
        return FAILED
