"""``protonova describe``: a physical description → what it looks like, what it is near to, and a prototype for later use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from console.progress import progress
from console.report import check_writable, table, write
from errors import one_line, usage

if TYPE_CHECKING:
    from data.simulate.described import Description
    from data.simulate.sample import Summary

WIDTH = 120
NEAREST = 6
"""Classes, and objects of a table, that are shown."""
SUFFIXES = (".json", ".safetensors")
LEAST_UNLABELLED = 20
"""Objects of a table from which a centre is made."""


def find_description(what: str) -> tuple[Description, float | None]:
    """A file, or what the shipped descriptions call it.

    Returns
    -------
    Description, float
        And how well the words fit; None: it was a file.

    Raises
    ------
    UserError
        The file is wrong, or nothing is called that.
    """
    from data.simulate.described import read, shipped
    from data.simulate.lookup import find

    path = Path(what)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return read(path), None
    found = find(what)
    if not found:
        near = [name for name, _ in find(what, 0.25)[:3]]
        known = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(shipped())}"
        raise usage(f"no description means {what!r}; {known}; or name a FILE.yaml (docs/descriptions.md)")
    return shipped()[found[0][0]], found[0][1]


def describe(
    what: str, *, against: Sequence[Path], count: int, seed: int, out: Path | None, bundle: Path | None, engine: str, report: Path | None
) -> int:
    """Simulate, embed, compare, and write the prototype."""
    from data.simulate.sample import summary
    from evaluation import zeroshot
    from gpu.choose import choose
    from operators.head import prototype, to_classes
    from registry.bundle import load as load_bundle

    description, score = find_description(what)
    if out is not None and out.suffix not in SUFFIXES:
        raise usage(f"--out writes {' or '.join(SUFFIXES)}, not {out.name}")
    check_writable(out)
    check_writable(report)
    loaded = load_bundle(bundle)
    session, why = choose(loaded.encoder, engine)
    centre = np.asarray(loaded.head.centre, dtype=np.float64)
    with progress("describe", "steps", total=2 + len(against)) as bar:
        bar.describe("looks")
        looks = summary(description, 200, seed=seed)
        bar.advance()
        bar.describe("alerts")
        z, sampled = zeroshot.alerts(description, session, n=count, seed=seed)
        bar.advance()
        own = prototype(z, centre)
        near = to_classes(np.asarray(own, dtype=np.float32)[None], loaded.head)[0]
        cosine = dict(zip(loaded.classes, near.tolist(), strict=True))
        tables = {}
        for path in against:
            bar.describe(path.name)
            tables[str(path)] = _against(path, description, session=session, count=count, seed=seed)
            bar.advance()
    if out is not None:
        prior = zeroshot.Prior(description.name, loaded.sha256, len(z), sampled.tried, seed, "ztf", np.asarray(own, dtype=np.float32))
        zeroshot.save(out, prior)
    figures = {
        "command": "describe",
        "name": description.name,
        "matched": score,
        "looks": {key: getattr(looks, key) for key in looks.__slots__},
        "simulated": sampled.tried,
        "detected": len(sampled.objects),
        "nearest": dict(sorted(cosine.items(), key=lambda item: -item[1])),
        "against": tables,
        "engine": session.engine,
        "engine_reason": why,
        "bundle": loaded.sha256,
        "out": str(out) if out is not None else None,
    }
    show(description, looks, figures=figures, console=Console() if sys.stdout.isatty() else Console(width=WIDTH))
    write(report, figures)
    return 0


def _against(path: Path, description: Description, *, session: Any, count: int, seed: int) -> dict[str, Any]:
    """The objects of a table that are most like the description, cut as the table is; the centre is the table's own mean."""
    from data.tables import TableError, read
    from evaluation import task_head, zeroshot
    from evaluation.pattern import Patterns
    from operators.head import centred

    held = read(path)
    held = held.take(np.flatnonzero(np.diff(held.start) > 0)).difference()
    if len(held) < LEAST_UNLABELLED:
        raise TableError(f"{path} has {len(held)} objects: at least {LEAST_UNLABELLED} are needed to know what is usual in it")
    z = task_head.embed(held, session).embedding
    centre = z.mean(axis=0)
    own = zeroshot.prototype(description, session, centre=centre, n=count, seed=seed, patterns=Patterns.of(held, persistent=False))
    cosine = centred(z, centre) @ own
    order = np.argsort(-cosine, kind="stable")[:NEAREST]
    return {"objects": len(held), "nearest": {held.object_id[i]: float(cosine[i]) for i in order}}


def _range(values: tuple[float, float, float] | None, form: Callable[[float], str]) -> str:
    if values is None or values[1] != values[1]:
        return "–"
    low, middle, high = (form(v) for v in values)
    return f"{middle}  ({low} … {high})"


def _days(x: float) -> str:
    """1 day, 20 min: three figures in the unit that suits."""
    return f"{x:.3g} d" if x >= 0.1 else f"{x * 24:.2g} h" if x * 24 >= 1 else f"{x * 1440:.2g} min"


def _mag(x: float) -> str:
    return f"{x:+.2f}"


def show(description: Description, looks: Summary, *, figures: Mapping[str, Any], console: Console) -> None:
    """Print what was found."""
    matched = figures["matched"]
    console.print(f"[bold]{description.name}[/bold]" + (f"  (fits {matched:.2f})" if matched is not None else ""), highlight=False)
    console.print(one_line(description.text, 4000), style="dim", highlight=False, markup=False)
    console.print()
    rows = table()
    rows.add_column("looks")
    rows.add_column("median  (16 … 84 %)")
    rows.add_row("peak, g apparent", _range(looks.peak, lambda x: f"{x:.1f} mag"))
    if description.peak.absolute is not None:
        rows.add_row("peak, g absolute", f"{description.peak.absolute.median:.1f} mag")
    if description.period is not None:
        rows.add_row("period", _days(description.period.days.median))
    else:
        rows.add_row("rise", _range(looks.rise, _days))
        rows.add_row("above half the peak", _range(looks.above_half, _days))
    rows.add_row("g-r at the peak", _range(looks.colour, _mag))
    if description.period is None:
        rows.add_row("g-r at a tenth of it", _range(looks.later_colour, _mag))
    if looks.redshift is not None:
        rows.add_row("redshift", _range(looks.redshift, lambda x: f"{x:.2g}"))
    rows.add_row("detected by ZTF", f"{figures['detected']:,} of {figures['simulated']:,} simulated")
    console.print(rows)
    near = table()
    near.add_column("nearest known classes")
    near.add_column("cosine", justify="right")
    for name, cosine in list(figures["nearest"].items())[:NEAREST]:
        near.add_row(name, f"{cosine:+.2f}")
    console.print(near)
    for path, found in figures["against"].items():
        most = table()
        most.add_column(escape(f"nearest of {found['objects']:,} in {Path(path).name}"))
        most.add_column("cosine", justify="right")
        for name, cosine in found["nearest"].items():
            most.add_row(escape(one_line(name, 60)), f"{cosine:+.2f}")
        console.print(most)
    if figures["out"]:
        console.print(f"prototype written to {figures['out']}", highlight=False)
