"""`python -m benchmarks [filters] [--quick] [--report FILE] [--only stages|histories|broker] [--against FOLDER] [--bundle FOLDER]`"""

from __future__ import annotations

import os
import sys


def start() -> int:
    """One thread each, so that CPU time is what one core does; the libraries read these when they are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"
    if sys.argv[1:2] == ["filters"]:
        from benchmarks.filters import main as filters

        return filters(sys.argv[2:])
    from benchmarks.run import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(start())
