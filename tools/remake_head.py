"""The head of a bundle made anew, its encoder as it is: ``python -m tools.remake_head [--bundle B] [--out B]``.

For a change of the head alone: a training would give the same encoder, an hour later. See `learning.recalibrate`.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from console import report as reports
from console.commands.train import Followed
from errors import UserError
from learning.recalibrate import recalibrate
from learning.workplace import Workplace
from registry.bundle import PUBLISHED, load


def main(arguments: list[str] | None = None) -> int:
    """Run the program; 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tools.remake_head", description="A bundle's head made anew, its encoder as it is.")
    parser.add_argument("--bundle", type=Path, default=PUBLISHED, help="folder of the bundle (default: the one that ships)")
    parser.add_argument("--out", type=Path, default=PUBLISHED, help="folder to write to; may be the same")
    parser.add_argument("--sets", type=Path, metavar="FOLDER", help="keep the simulated sets there, or read them")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/real/ztf_alerts"), help="folder of labelled packets to report on")
    parser.add_argument("--processes", type=int, default=2, help="to simulate in (default 2)")
    options = parser.parse_args(arguments)
    console = reports.output()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    workplace = Workplace(out=options.out, created_on=today, processes=options.processes, sets=options.sets, real=options.real)
    try:
        with Followed(console, 1) as followed:
            made = recalibrate(load(options.bundle), workplace, progress=followed, command="python -m tools.remake_head")
    except (UserError, OSError) as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 1
    console.print(f"bundle {made.sha256[:16]} in {made.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
