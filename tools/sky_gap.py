"""Where simulated ZTF packets differ from real ones: ``python -m tools.sky_gap [--each N] [--seed S] [--report FILE]``.

The AUC of a forest that distinguishes them, by population and group of facts, the ten facts that separate most, and how well each
further field of the candidate separates classes in both skies. Without real packets it says so and ends with status 0.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

from console import report as reports
from console.progress import progress
from errors import UserError
from evaluation import skies

REAL = Path(os.environ.get("PROTONOVA_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve() / "data" / "real" / "ztf_alerts"
WORST = 10


def main(arguments: list[str] | None = None) -> int:
    """Run the program; 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tools.sky_gap", description="Where simulated ZTF packets differ from real ones.")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real packets with LABELS.csv (default: the shared ones)")
    parser.add_argument("--each", type=int, default=300, help="simulated packets a population (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation and the forest")
    parser.add_argument("--population", choices=("train", "demo"), default="train", help="whose parameters (default train)")
    parser.add_argument("--worst", type=int, default=WORST, help=f"facts to list (default {WORST})")
    parser.add_argument("--fields", action="store_true", help="also list how well the other fields of the candidate separate classes")
    parser.add_argument("--report", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    console = reports.output()
    if not options.real.is_dir():
        console.print(f"no real packets under {options.real}: set PROTONOVA_SHARED, or name a folder with --real", soft_wrap=True)
        return 0
    try:
        reports.check_writable(options.report)
        with progress("real packets", "steps") as bar:

            def advance(what: str, by: int) -> None:
                bar.describe(what)
                bar.advance(by)

            real = skies.real_sky(options.real, progress=advance)
            simulated = skies.simulated_sky(options.each, seed=options.seed, population=options.population, progress=advance)
            gaps = skies.compare(real, simulated, seed=options.seed, progress=advance)
    except UserError as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 1
    if not gaps:
        console.print(f"too few real packets of any population under {options.real}: {len(real.facts)} packets read", soft_wrap=True)
        return 0
    table = reports.table()
    for heading in ("population", "real", "objects", "simulated", *gaps[0].auc):
        table.add_column(heading, justify="left" if heading == "population" else "right")
    for gap in gaps:
        table.add_row(gap.population, str(gap.real), str(gap.objects), str(gap.simulated), *(f"{x:.3f}" for x in gap.auc.values()))
    reports.show(console, "A forest distinguishes real packets from simulated ones: AUC, folds of objects", table)
    for gap in gaps:
        table = reports.table()
        for heading in ("fact", "group", "AUC", "real", "simulated", "missing", "simulated missing"):
            table.add_column(heading, justify="left" if heading in ("fact", "group") else "right")
        for fact in gap.facts[: options.worst]:
            cells = (
                f"{fact.auc:.3f}",
                f"{fact.real:.4g}",
                f"{fact.simulated:.4g}",
                f"{fact.missing_real:.2f}",
                f"{fact.missing_simulated:.2f}",
            )
            table.add_row(fact.name, fact.group, *cells)
        reports.show(console, f"{gap.population}: the {options.worst} facts that separate most, each alone", table)
    powers = skies.powers(real, simulated)
    if options.fields:
        table = reports.table()
        table.add_column("field")
        for pair in next(iter(powers.values())):
            table.add_column(pair, justify="right")
        for name, pairs in powers.items():
            table.add_row(name, *(f"{a:.2f} ({b:.2f})" for a, b in pairs.values()))
        reports.show(console, "Other fields of the candidate: chance that the first kind's is larger, real (simulated)", table)
    reports.write(options.report, {"command": "sky_gap", "gaps": [asdict(gap) for gap in gaps], "fields": powers})
    return 0


if __name__ == "__main__":
    sys.exit(main())
