"""``protonova calibrator``: the work on raw frames alone, as production runs it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from errors import UserError, one_line, usage

if TYPE_CHECKING:
    from settings.model import Settings


def run(settings: Settings) -> int:
    """Calibrate and compare frames until it is asked to end; returns the exit status.

    Raises
    ------
    UserError
        The metrics cannot have their port, or what images need is not installed.
    """
    import prometheus_client
    import structlog

    from streams.agents.frame_stage import FrameFaultError
    from streams.agents.reject_limits import RejectLimitError
    from streams.wiring import ENGINE_FAILED, FLOW_FAILED, HALTED
    from streams.worker import configure_logging

    check_installed()
    from streams.frame_wiring import FrameWork, HungError

    configure_logging(settings.log_level)
    log = structlog.get_logger(__name__)
    port = settings.metrics_port + settings.workers + 1 if settings.metrics_port else 0
    try:
        prometheus_client.start_http_server(port, settings.metrics_host)
    except OSError as error:
        raise UserError(
            f"the metrics cannot have {settings.metrics_host}:{port} ({one_line(error, 80)}): set PROTONOVA_METRICS_PORT"
        ) from None

    async def until_ended() -> None:
        task = asyncio.ensure_future(FrameWork(settings).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    try:
        asyncio.run(until_ended())
    except RejectLimitError as error:
        log.error("frames are not worked on any more", why=str(error))
        return HALTED
    except FrameFaultError as error:
        log.error("a fault of ours, the frame comes again", why=str(error), exc_info=error.__cause__)
        return ENGINE_FAILED
    except HungError as error:
        log.error("a frame has hung, it comes again", why=str(error))
        return FLOW_FAILED
    return 0


def check_installed() -> None:
    """Refuse to start without the libraries that images need.

    Raises
    ------
    UserError
        Which one is missing, and how it is installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("astropy", "scipy", "sep") if find_spec(name) is None]
    if missing:
        raise usage(f"raw frames need {', '.join(missing)}: pip install 'protonova[frames]'")
