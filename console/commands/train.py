"""``protonova train``: a plan from flags and a file → a bundle, with progress on the terminal.

A thin shell over `learning.recipe.train`: what flags mean, the clock, the bar, the tables, and the ledger where one is named.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from console import report as reports
from data.simulate.classes import SLUGS
from errors import RetryableError, UserError, one_line, say, usage
from learning.plan import Plan, PlanError

if TYPE_CHECKING:
    from learning.workplace import Step

INTERRUPTED = 130
NUMBERS = {"hyperparameters": "set", "augmentation": "augment", "missing": "missing", "encoder": "size"}
"""Field of `Plan` that holds numbers by name → the flag that gives one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was asked for beside the plan."""

    out: str
    processes: int = 2
    sets: Path | None = None
    fresh: bool = False
    real: Path | None = None
    mlflow: str | None = None
    dry_run: bool = False


def plan_of(file: Path | None, given: Mapping[str, Any]) -> Plan:
    """Make the plan of a file and of the flags that were given on top of it.

    Parameters
    ----------
    file : Path, optional
        JSON of a plan, or a bundle's manifest that holds one.
    given : mapping
        Field of `Plan` → value; None: not given. Numbers are ``["NAME=NUMBER", …]``.

    Raises
    ------
    UserError
        In the words of the flag that is wrong.
    """
    import orjson

    record: dict[str, Any] = {}
    if file is not None:
        try:
            found = orjson.loads(file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise usage(f"--plan {file} cannot be read: {one_line(error, 200)}") from None
        if isinstance(found, dict) and "files" in found:  # a manifest
            found = found.get("plan")
            if found is None:
                raise usage(f"--plan {file} is the manifest of a bundle without a plan")
        record = Plan.from_record(found).record()
    for name, value in given.items():
        if name in NUMBERS:
            record[name] = {**record.get(name, {}), **_numbers(NUMBERS[name], value or ())}
        elif value or (value is not None and not isinstance(value, list)):
            record[name] = value
    try:
        return Plan.from_record(record)
    except PlanError as error:
        flag = f"--{NUMBERS.get(error.name, error.name).replace('_', '-')}"
        raise usage(f"{flag} {str(error).removeprefix(error.name).strip()}") from None


def _numbers(flag: str, given: Sequence[str]) -> dict[str, Any]:
    """``["half=0", "channels=8,16"]`` → numbers by name; whole ones stay whole."""
    found: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            parts = [float(part) for part in value.split(",")]
        except ValueError:
            raise usage(f"--{flag} {name}= takes a number, not {value!r}") from None
        whole = [int(x) if x.is_integer() else x for x in parts]
        found[name] = whole if len(whole) > 1 else whole[0]
    return found


def train(plan: Plan, flags: Flags) -> int:
    """Run the command; returns the exit status."""
    if not flags.out.strip():
        raise usage("--out must name a folder")
    if flags.processes < 1:
        raise usage("--processes must be above 0")
    console = reports.output()
    if flags.dry_run:
        console.print(plan.to_json(), highlight=False, soft_wrap=True)
        console.print(f"{plan.numbers().steps:,} steps of {plan.numbers().batch}", highlight=False)
        return 0
    try:
        from learning.recipe import train as make
        from learning.workplace import Workplace
    except ImportError as error:
        raise UserError(f"training needs {error.name}: pip install 'protonova[train]'") from None
    workplace = Workplace(
        out=Path(flags.out),
        created_on=datetime.datetime.now(datetime.UTC).date().isoformat(),
        processes=flags.processes,
        sets=flags.sets,
        real=flags.real,
        fresh=flags.fresh,
    )
    followed = Followed(console, plan.numbers().steps)
    try:
        with followed:
            bundle = make(plan, workplace, progress=followed)
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on from {workplace.checkpoint}")
        return INTERRUPTED
    except FloatingPointError as error:
        raise UserError(f"training ended: {error}") from error
    if flags.mlflow:
        from registry.ledger import log

        try:
            log(flags.mlflow, bundle)
        except RetryableError as error:  # the bundle is made all the same
            say(str(error))
    console.print(f"bundle {bundle.sha256[:16]} in {bundle.path}", highlight=False, soft_wrap=True)
    return 0


class Followed:
    """A bar on a terminal, a line each tenth where the output is a file; stages with the seconds since the start, tables of figures."""

    RECENT = 100
    """Steps whose mean is shown."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps = console, steps
        self._started = time.monotonic()
        self._recent: list[tuple[float, float]] = []
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=steps, state="", start=False)

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        """Print what begins now."""
        self._bar.stop()
        self._console.print(f"[{time.monotonic() - self._started:5.0f} s] {text}", highlight=False, markup=False, soft_wrap=True)

    def step(self, step: Step) -> None:
        """Move the bar."""
        if not self._recent:
            self._bar.start()
            self._bar.start_task(self._task)
        self._recent.append((step.loss, step.accuracy))
        del self._recent[: -self.RECENT]
        loss, accuracy = np.mean(self._recent, axis=0)
        state = f"loss {loss:.3f}, {accuracy:.0%} right"
        self._bar.update(self._task, completed=step.step, state=state)
        if not self._console.is_terminal and step.step % max(self._steps // 10, 1) == 0:
            self._console.print(f"  step {step.step:,} of {step.steps:,}: {state}", highlight=False)

    def figures(self, title: str, found: Mapping[str, Any]) -> None:
        """Print recall by class."""
        if found:
            self._console.print(table_of(title, found, classes=SLUGS))


def table_of(title: str, found: Mapping[str, Any], *, classes: Sequence[str]) -> Table:
    """Recall by class and number of detections, and where each class's late alerts go instead.

    Parameters
    ----------
    title : str
    found : mapping
        Of `learning.assessment.figures`.
    classes : sequence of str
        Slugs, as the figures count them.
    """
    from learning.assessment import BINS

    table = Table(title=title)
    for column in ("class", *(f"{name} det." for name in BINS), "taken for, at 5+"):
        table.add_column(column, justify="left" if column in ("class", "taken for, at 5+") else "right")
    for i, name in enumerate(classes):
        row = np.array(found["confusion"][i])
        wrong = [j for j in np.argsort(-row, kind="stable") if j != i and row[j] > 0][:3]
        taken = ", ".join(f"{classes[j]} {row[j] / row.sum():.0%}" for j in wrong)
        table.add_row(name, *(_percent(found["recall"][b].get(name)) for b in BINS), taken)
    table.add_section()
    table.add_row("macro", *(_percent(found["macro"].get(b)) for b in BINS), f"accuracy {_percent(found['accuracy'].get('5+'))}")
    table.add_row(
        "all",
        *(str(found["n"][b]) for b in BINS),
        f"ECE {found['ece']:.3f}, 90 % sets hold {found['coverage']:.1%} with {found['set_size']:.1f} classes",
    )
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
