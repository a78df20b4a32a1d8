"""``python -m console.status``: the status service alone, by settings from environment and file."""

from __future__ import annotations

import sys
from pathlib import Path

from console.errors import guarded


def main() -> None:
    """Serve."""
    state = Path("state")

    def body() -> int:
        nonlocal state
        from console.status.serve import serve
        from streams.settings import Settings

        settings = Settings()
        state = settings.state
        if settings.kafka is None:
            from console.broker import with_broker

            settings = with_broker(settings)
        return serve(settings)

    sys.exit(guarded(body, lambda: state))


if __name__ == "__main__":
    main()
