"""Reports that are not of the bundle that ships → made anew, and the model card of them: ``python -m tools.remake_reports``.

docs/reports, the bundle, the shared real data → docs/reports/NAME.json, docs/model-card.md and its pictures

    python -m tools.remake_reports --list          what is outdated, and the CPU minutes it would take
    python -m tools.remake_reports                 makes what is outdated, then the card
    python -m tools.remake_reports stars           makes these, whether outdated or not
    python -m tools.remake_reports --all           everything: after a change of the code that evaluates

Each report is made by the command that anybody would type, in a process of its own; what is finished stays if the rest is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console.progress import progress
from errors import UserError, one_line
from evaluation.provenance import stale
from registry.bundle import Bundle, load
from settings.model import Settings
from tools import model_card

ROOT = Path(__file__).parents[1]
REPORTS, CARD = ROOT / "docs" / "reports", ROOT / "docs" / "model-card.md"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a report is made."""

    name: str
    module: str
    arguments: tuple[str, ...]
    """With {real}: the shared real data."""
    to: str
    """The flag that names the file."""
    minutes: float
    """Of one core, where the report itself does not say."""

    def command(self, real: Path, out: Path) -> list[str]:
        """What to run."""
        return [sys.executable, "-m", self.module, *(a.format(real=real) for a in self.arguments), self.to, str(out)]


def _task(name: str, *, episodes: int, minutes: float, shots: str = "1,5,10,20") -> Recipe:
    tables = "{real}/tables/tasks/" + name
    arguments = (
        "evaluate", "--task", f"{tables}.parquet", "--labels", f"{tables}.csv", "--baselines", "none", "--episodes", str(episodes),
        "--shots", shots,
    )  # fmt: skip
    return Recipe(name, "console.cli", arguments, "--report", minutes)


RECIPES: tuple[Recipe, ...] = (
    Recipe("real_alerts", "console.cli", ("evaluate", "--packets", "{real}/ztf_alerts"), "--report", 0.3),
    Recipe(
        "heads",
        "tools.studies",
        ("heads", "--table", "{real}/tables/lightcurves.parquet", "--labels", "{real}/tables/labels.csv"),
        "--out",
        5.4,
    ),
    _task("ztf3", episodes=200, minutes=2.3),
    _task("transients4_strict", episodes=200, minutes=3.6),
    _task("transients4_early30", episodes=200, minutes=2.7),
    _task("transients4_oac", episodes=200, minutes=4.1),
    _task("stars", episodes=150, minutes=12.6, shots="1,5,10"),
    _task("transients4_matched", episodes=200, minutes=7.3),
)  # fmt: skip
"""Cheapest first. Studies that need other trainings (leave one class out, novelty, ablation) lie in docs/reports/earlier."""


def outdated(bundle: Bundle, folder: Path = REPORTS) -> dict[str, list[str]]:
    """Recipe → which parts of the bundle are others by now; ``missing`` where the report is not there."""
    found = {}
    for recipe in RECIPES:
        path = folder / f"{recipe.name}.json"
        parts = stale(json.loads(path.read_text(encoding="utf-8")), bundle) if path.is_file() else ["missing"]
        if parts:
            found[recipe.name] = parts
    return found


def minutes_of(recipe: Recipe, folder: Path = REPORTS) -> float:
    """What the report took when it was last made [min of one core]."""
    try:
        found = json.loads((folder / f"{recipe.name}.json").read_text(encoding="utf-8"))
        return float(found.get("wall_seconds") or found["seconds"]) / 60
    except (OSError, ValueError, KeyError, TypeError):
        return recipe.minutes


def make(recipe: Recipe, real: Path, *, folder: Path = REPORTS) -> None:
    """Make one report; the former one stays where it fails.

    Raises
    ------
    UserError
        The command failed: its last line.
    """
    with tempfile.TemporaryDirectory() as aside:
        out = Path(aside) / f"{recipe.name}.json"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(recipe.command(real, out), cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode or not out.is_file():
            last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
            raise UserError(f"{recipe.name} could not be made: {one_line(last[0], 300)}")
        (folder / f"{recipe.name}.json").write_bytes(out.read_bytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is outdated; 0, or 2 with one line."""
    parser = argparse.ArgumentParser(prog="python -m tools.remake_reports", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(r.name for r in RECIPES)}; default: what is outdated")
    parser.add_argument("--all", action="store_true", help="everything, outdated or not")
    parser.add_argument("--list", action="store_true", help="only say what is outdated")
    options = parser.parse_args(arguments)
    try:
        bundle, real = load(), Settings().shared.absolute() / "data" / "real"
        old = outdated(bundle)
        known = {recipe.name for recipe in RECIPES}
        if unknown := set(options.names) - known:
            raise UserError(f"no report is called {', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}")
        wanted = known if options.all else set(options.names) or set(old)
        chosen = [recipe for recipe in RECIPES if recipe.name in wanted]
        for recipe in RECIPES:
            why = f"outdated ({', '.join(old[recipe.name])})" if recipe.name in old else "of the bundle that ships"
            print(f"{recipe.name:22s} {minutes_of(recipe):5.1f} min  {why}{', to be made' if recipe in chosen else ''}")
        print(f"to be made: {sum(map(minutes_of, chosen)):.0f} CPU minutes")
        if options.list:
            return 0
        if not real.is_dir():
            raise UserError(f"no real data under {real}: PROTONOVA_SHARED says where they are")
        with progress("reports", "reports", total=len(chosen)) as bar:
            for recipe in chosen:
                bar.describe(f"{recipe.name} (about {minutes_of(recipe):.0f} min)")
                make(recipe, real)
                bar.advance()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return model_card.main(["--reports", str(REPORTS), "--out", str(CARD)])


if __name__ == "__main__":
    sys.exit(main())
