"""``protonova calibrator``: the work on raw frames alone, as production runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.own_process import serve_metrics
from errors import usage

if TYPE_CHECKING:
    from settings.model import Settings


def run(settings: Settings) -> int:
    """Calibrate and compare frames until it is asked to end; returns the exit status.

    Raises
    ------
    UserError
        The metrics cannot have their port, or what images need is not installed.
    """
    import structlog

    from streams.agents.frame_stage import FrameFaultError
    from streams.agents.reject_limits import RejectLimitError
    from streams.until_ended import run_until_ended
    from streams.wiring import ENGINE_FAILED, FLOW_FAILED, HALTED
    from streams.worker import configure_logging

    check_installed()
    from streams.frame_wiring import FrameWork, HungError

    configure_logging(settings.log_level)
    log = structlog.get_logger(__name__)
    serve_metrics(settings, settings.workers + 1)
    try:
        run_until_ended(lambda: FrameWork(settings).run())
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
