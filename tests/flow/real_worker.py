"""A worker with the published model: python tests/flow/real_worker.py SLOT …"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    from settings.model import Settings
    from streams.worker import run_worker

    os._exit(run_worker(Settings(), int(sys.argv[1])))
