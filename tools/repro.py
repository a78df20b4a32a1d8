"""One stage of a training, as `dvc repro` runs it: ``python -m tools.repro STAGE``; see dvc.yaml and `learning.recipe_stages`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from console import report as reports
from console.commands.train import Followed
from errors import UserError
from learning import recipe_stages as stages
from learning.recipe_stages import Places
from learning.workplace import Workplace

NAMES = (*stages.BEFORE_EXPORT, "export")


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tools.repro", description="One stage of a training: params.yaml → files.")
    parser.add_argument("stage", choices=NAMES)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="the plan (default params.yaml)")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/repro"), help="of the stages' files")
    parser.add_argument("--created-on", default="", help="a date for the manifest, year-month-day")
    parser.add_argument("--processes", type=int, default=2, help="to simulate in (default 2)")
    options = parser.parse_args(arguments)
    places = Places(options.folder)
    shared = Path(os.environ.get("PROTONOVA_SHARED", "../shared"))
    real = shared / "data" / "real" / "ztf_alerts"
    workplace = Workplace(
        out=places.bundle, created_on=options.created_on, processes=options.processes, sets=places.sets,
        real=real if real.is_dir() else None,
    )  # fmt: skip
    console = reports.output()
    try:
        plan = stages.read_params(options.params)
        with Followed(console, plan.numbers().steps) as followed:
            if options.stage == "start":
                stages.start(plan, places)
            elif options.stage == "simulate":
                stages.simulate(plan, workplace, progress=followed)
            elif options.stage == "train":
                stages.train(plan, workplace, places=places, progress=followed)
            elif options.stage == "calibrate":
                stages.calibrate(plan, workplace, places=places, progress=followed)
            elif options.stage == "evaluate":
                stages.report(plan, workplace, places=places, progress=followed)
            else:
                made = stages.export(plan, workplace, places=places)
                console.print(f"bundle {made.sha256[:16]} in {made.path}", highlight=False, soft_wrap=True)
    except (UserError, OSError) as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
