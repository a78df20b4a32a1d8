"""``protonova curves``: light curves of stars → what transits and flares are in them beside the known periods, and a picture of each.

No score depends on it: the table shows the detrending and the search that the operators do (docs/light-curves.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from console import report as reports
from console.progress import progress
from data.connectors.archives import Packet, packets_of
from data.connectors.known_periods import SHIPPED, Known, known_periods
from data.connectors.star_curves import NotAStarCurve, StarCurve, star_curve
from errors import UserError, say

if TYPE_CHECKING:
    from operators.detrend import Detrended
    from operators.transits import Figures, Points

CERTAIN = 10.0
"""Signal-to-noise from which a period is worth a look; below it noise gives one as well (docs/light-curves.md, injection)."""
WINDOW = 0.75
"""[d] of the detrending, as in the stream."""
BINARY = 5.0
"""[σ] of odd against even transits, or of a secondary eclipse, from which the table states them in bold."""

LONGEST = 3.0
"""Durations of a central transit of the Sun's density: a longer dip is not a transit of a dwarf."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One light curve and what is in it."""

    origin: str
    star: StarCurve
    left: Detrended
    points: Points
    figures: Figures
    known: tuple[Known, ...]

    @property
    def cadence(self) -> float:
        """Median step of time [min]."""
        return 1440 * self.points.cadence

    @property
    def noise(self) -> float:
        """[ppm] scatter of the means of an hour, were the points independent."""
        return 1e6 * self.points.noise * float(np.sqrt(24 * self.points.cadence)) if self.points.usable else float("nan")

    @property
    def nearest(self) -> Known | None:
        """Of the known periods the one that is nearest to the found one, or the first."""
        found = self.figures.transit
        if not self.known or found is None:
            return self.known[0] if self.known else None
        return min(self.known, key=lambda k: abs(np.log(found.period / k.period)))

    @property
    def remark(self) -> str:
        """What speaks against a planet, in a few words."""
        found = self.figures.transit
        if found is None or found.signal_to_noise < CERTAIN:
            return "no sure period"
        if found.density > LONGEST:
            return "too long for a transit: rotation or pulsation"
        if found.odd_even > BINARY:
            return "odd and even dips differ: a binary at twice the period"
        return "a secondary dip: a binary, or rotation that the trend left" if found.secondary_signal_to_noise > BINARY else ""

    def plain(self) -> dict[str, Any]:
        """For the report."""
        found, known = self.figures.transit, self.nearest
        ratio = found.period / known.period if found is not None and known is not None else None
        return {
            "origin": self.origin,
            "object": self.star.name,
            "observed": self.star.observed,
            "points": len(self.points.t),
            "span_d": float(np.ptp(self.points.t)) if len(self.points.t) else 0.0,
            "cadence_min": self.cadence,
            "noise_ppm_1h": self.noise,
            "transit": None if found is None else asdict(found),
            "single": None if self.figures.single is None else asdict(self.figures.single),
            "flares": [asdict(flare) for flare in self.figures.flares],
            "known": [asdict(k) for k in self.known],
            "found_over_known_period": ratio,
            "remark": self.remark,
        }


def see(origin: str, packet: bytes, *, catalogue: Path = SHIPPED, window: float = WINDOW) -> Seen:
    """Detrend, in windows of so many days, and search one packet.

    Raises
    ------
    UserError
        It is not a light curve of a star, or the catalogue cannot be read.
    """
    from operators.detrend import Curves, Detrending, detrend
    from operators.transits import Points, figures

    star = star_curve(packet)
    curves = Curves.of([star.curve])
    left = detrend(curves, how=Detrending(window=window, quality=star.quality))
    known = known_periods(catalogue).get(star.name, ())
    return Seen(origin, star, left, Points(star.curve.time, left), figures(curves, left)[0], known)


def curves(
    paths: Sequence[str], *, out: Path | None = None, catalogue: Path | None = None, window: float = WINDOW, report: Path | None = None
) -> int:
    """Run the command; returns the exit status: 1 where there was no light curve."""
    reports.check_writable(report)
    table = catalogue or SHIPPED
    known_periods(table)  # refused before the work
    draw = _drawing() if out is not None else None
    seen: list[Seen] = []
    skipped = 0
    with progress("curves", unit="light curves") as bar:
        for item in packets_of(paths):
            if not isinstance(item, Packet):
                skipped += 1
                say(f"skipped {item.origin}: {item.reason}")
                continue
            try:
                one = see(item.origin, item.packet, catalogue=table, window=window)
            except NotAStarCurve as error:
                skipped += 1
                say(f"skipped {item.origin}: {error}")
                continue
            seen.append(one)
            if out is not None and draw is not None:
                _write(draw(one), out / file_name(one))
            bar.advance()
    console = reports.output()
    if seen:
        reports.show(console, "Transits and flares", _transits(seen), *([_known(seen)] if any(s.known for s in seen) else []))
    for one in seen:
        if one.remark:
            console.print(reports.cell(f"{one.star.name}, {one.star.observed}: {one.remark}"), soft_wrap=True)
    pictures = f", a picture of each in {out}" if out is not None and seen else ""
    console.print(f"\n{len(seen)} light curves{pictures}; {skipped} things skipped", highlight=False, soft_wrap=True)
    reports.write(report, {"command": "curves", "light_curves": [one.plain() for one in seen], "skipped": skipped})
    return 0 if seen else 1


def file_name(one: Seen) -> str:
    """Such as ``TIC-25155310-sector-1.png``."""
    return f"{one.star.name} {one.star.observed}.png".replace(" ", "-")


def _drawing() -> Any:
    try:
        from console.commands.curve_picture import picture
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'protonova[plots]', or leave --out away") from None
    return picture


def _write(image: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _transits(seen: Sequence[Seen]) -> Any:
    shown = reports.table()
    shown.add_column("star")
    for name in (
        "span\nd",
        "cadence\nmin",
        "noise\nppm/h",
        "period\nd",
        "epoch\nBTJD",
        "depth\nppm",
        "hours",
        "transits",
        "S/N",
        "odd–even\nσ",
    ):
        shown.add_column(name, justify="right")
    shown.add_column("secondary\nppm (σ)", justify="right")
    shown.add_column("flares", justify="right")
    for one in seen:
        found = one.figures.transit
        cells = ["–"] * 8
        if found is not None:
            weak = found.signal_to_noise < CERTAIN
            numbers = (
                f"{found.period:.5f}", f"{found.epoch:.3f}", f"{1e6 * found.depth:,.0f}", f"{24 * found.duration:.2f}",
                f"{found.transits}", f"{found.signal_to_noise:.1f}", _strong(found.odd_even),
                f"{1e6 * found.secondary_depth:,.0f} ({_strong(found.secondary_signal_to_noise)})",
            )  # fmt: skip
            cells = [f"[dim]{n}[/dim]" if weak else n for n in numbers]
        span = f"{np.ptp(one.points.t):.1f}" if len(one.points.t) else "–"
        star = reports.cell(f"{one.star.name}, {one.star.observed}")
        shown.add_row(star, span, f"{one.cadence:.1f}", f"{one.noise:,.0f}", *cells, f"{len(one.figures.flares)}")
    return shown


def _strong(sigma: float) -> str:
    return "–" if np.isnan(sigma) else f"[bold]{sigma:.1f}[/bold]" if sigma > BINARY else f"{sigma:.1f}"


def _known(seen: Sequence[Seen]) -> Any:
    shown = reports.table()
    for name in ("star", "known", "kind"):
        shown.add_column(name)
    for name in ("its period\nd", "found\nd", "found / known"):
        shown.add_column(name, justify="right")
    shown.add_column("source")
    for one in seen:
        found = one.figures.transit
        for known in one.known:
            beside = ("–", "–") if found is None else (f"{found.period:.5f}", f"{found.period / known.period:.5f}")
            names = (reports.cell(text) for text in (one.star.name, known.name, known.kind))
            shown.add_row(*names, f"{known.period:.5f}", *beside, reports.cell(known.source))
    return shown
