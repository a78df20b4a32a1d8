"""A process that starts as a worker does, up to its first packet → where the time went, as JSON on standard output.

`python -m console.startup`, in a process of its own: what another has imported or compiled would not be counted.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise

import orjson


def main() -> int:
    """Run as a command."""
    marks = [("", time.perf_counter())]

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter()))

    from errors import UserError
    from gpu.session import EngineError
    from settings.model import Settings

    try:
        from numba.core.dispatcher import Dispatcher

        import streams.wiring  # noqa: F401 - what a worker imports
        from pipeline.state import load
        from pipeline.warm import warm
        from schemas.surveys import decode

        mark("imports")
        settings = Settings()
        state = load(settings.bundle, settings.engine, precision=settings.precision)
        mark("session")
        decode.warm()
        mark("kernels")
        warm(state)
        mark("warm")
    except (UserError, EngineError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    loops = [item for module in list(sys.modules.values()) for item in vars(module).values() if isinstance(item, Dispatcher)]
    loops = list({id(loop): loop for loop in loops}.values())
    figures = {name: now - before for (_, before), (name, now) in pairwise(marks)}
    read = sum(sum(loop.stats.cache_hits.values()) for loop in loops)
    compiled = sum(len(loop.signatures) for loop in loops if not sum(loop.stats.cache_hits.values()))
    sys.stdout.buffer.write(orjson.dumps({"seconds": figures, "loops_read": read, "loops_compiled": compiled}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
