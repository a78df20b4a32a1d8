"""Simulated beside real light curves: `python -m tools.docs.compare` writes docs/simulated.md and the pictures in docs/figures/.

real curves (`PROTONOVA_SHARED`/data/real/tables) → for each object simulated events of its class, seen at the object's own times, bands and
errors → the same statistics of both, a table and a picture per class; `python -m tools.docs.compare TDE SLSN` prints those two and writes
no page
Needs the extra `plots` and the shared data. Nothing is fitted here: the simulator follows the literature, this shows where it stands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tools.docs.panels import fast_panels, lens_panels, star_panels
from tools.docs.real_curves import F64, STATISTICS, Curve, measure, nightly, peak_of, pick_band, pool, real_curves, twins
from tools.docs.sky_pictures import class_picture, curves_picture

DOCS = Path(__file__).parents[2] / "docs"
CLASSES: dict[str, str] = {
    "SN Ia": "sn-ia",
    "SN II": "sn-ii",
    "SN IIn": "sn-iin",
    "SN Ibc": "sn-ibc",
    "SLSN": "slsn",
    "TDE": "tde",
}
SPAN: dict[str, tuple[float, float]] = {
    "SN Ia": (-25, 100),
    "SN II": (-30, 160),
    "SN IIn": (-50, 160),
    "SN Ibc": (-25, 100),
    "SLSN": (-80, 160),
    "TDE": (-60, 200),
}


def rows(curves: Sequence[Curve]) -> F64:
    """The statistics of each curve that can be measured, a row each."""
    found = [m for m in map(measure, curves) if m is not None]
    return np.array(found) if found else np.zeros((0, len(STATISTICS)))


def spread(values: F64) -> tuple[int, float, float, float]:
    """(n, 16th, 50th, 84th percentile) of the finite ones."""
    values = values[np.isfinite(values)]
    return (len(values), *np.percentile(values, [16, 50, 84])) if len(values) >= 4 else (len(values), np.nan, np.nan, np.nan)


def report(real: Sequence[Curve], made: Sequence[Curve]) -> list[tuple[str, ...]]:
    """One line a statistic: real, simulated, and how far the medians are apart in units of the real scatter."""
    lines: list[tuple[str, ...]] = []
    a, b = rows(real), rows(made)
    for k, statistic in enumerate(STATISTICS):
        n, low, middle, high = spread(a[:, k])
        m, low_s, middle_s, high_s = spread(b[:, k])
        if n < 4 or m < 4:
            continue
        apart = (middle_s - middle) / max((high - low) / 2, 1e-3)
        lines.append((statistic, f"{middle:.2f} [{low:.2f}, {high:.2f}] ({n})", f"{middle_s:.2f} [{low_s:.2f}, {high_s:.2f}] ({m})",
                      f"{apart:+.1f}", f"{(high_s - low_s) / max(high - low, 1e-3):.1f}"))  # fmt: skip
    return lines


def laid_over(curves: Iterable[Curve]) -> dict[str, tuple[F64, F64]]:
    """Colour → all nightly points of the curves: days from the red peak, magnitudes below it."""
    found: dict[str, list[tuple[F64, F64]]] = {"red": [], "blue": []}
    for c in curves:
        red = pick_band(c, "red")
        peak = peak_of(c.of(red)) if red else None
        if red is None or peak is None:
            continue
        for colour, band in (("red", red), ("blue", "g")):
            t, f, e = nightly(c.of(band))
            good = f > 3 * e
            found[colour].append((t[good] - peak[0], -2.5 * np.log10(f[good] / peak[1])))
    return {
        colour: (np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])) for colour, parts in found.items() if parts
    }


HEAD = """# Simulated beside real light curves

`python -m tools.docs.compare` writes this page and its pictures (extra `plots`, and the real tables in `PROTONOVA_SHARED`). Each real
object lends its times, bands and errors to eight simulated events of its class, of the nearest redshift where it is known, else of the
nearest brightness, brightest when it was; then both are measured alike, in the frame of the observer and with the Milky Way's dust.
Values: median [16 %, 84 %] (number of curves that say it); *apart*: difference of the medians in units of the real half-width; *width*:
simulated over real. Of SN Ia and SLSN the simulated ones are of the kind that the samples were chosen to be (Ia, SLSN-I). The real samples
are small and chosen by their surveys: the simulator follows the papers named in its docstrings, and was mended where the difference was
larger than the real scatter; it was adjusted by hand against these medians, so they are not an independent check of it.

"""
TAIL = """## Kilonovae and afterglows

Black: AT2017gfo, below its r a day after the merger; afterglows (some with host or supernova) below their R half a day after the burst.
Red: simulated.

![Kilonovae and afterglows](figures/fast.png)

## Microlensing

One real event (black) and simulated ones (red): gain over the gain at peak, time in half-widths.

![Microlensing](figures/lens.png)

## Stars

ASAS stars (black) and simulated ones at the same times (red), each folded on the period found in it; flux
from the median, in units of the swing.

![Stars](figures/stars.png)

## Sectors of TESS

`data/simulate/space_curves.py` makes light curves of a whole sector, `data/simulate/sector.py` a stream of them with the truth. They follow
published figures and are not laid beside real ones here.

- Planets: quadratic limb darkening, radius ratios 0.015–0.18 (0.02–4 % deep), periods 0.5–20 d, stars from M dwarfs to subgiants; two
  transits or more in the data in nearly nine of ten.
- Anomalies: transits early, late or of unequal depth; dust with a tail (disintegrating planets, exocomets) and light scattered forward;
  irregular dips of 0.3–20 % without a period.
- Taken for planets: binaries whole, grazing and blended (0.05–2 %), with their secondary eclipses; flares of spotted dwarfs (Davenport et
  al. 2014), pulsators, rotation, young stars, dwarf novae; artefacts (momentum dumps, scattered light, jumps, box-like dips, background,
  ramps), two of five flagged by quality bits.
- Every kind: noise by magnitude (Stassun et al. 2018), red noise, drifts between momentum dumps, the downlink's gap, lost cadences,
  outliers; hosts of planets have spots and granulation. A cadence of half an hour is the mean of shorter ones.
- Selection: magnitudes are drawn without regard to the kind, then brighter until the signal has 7 σ at white noise (transits that vary 25,
  tails 15). Completeness at shallow depths is that of stars bright enough to show them.
"""


def main() -> None:
    """Write the comparison of the classes named on the command line, else of all."""
    wanted = sys.argv[1:] or list(CLASSES)
    real = real_curves(wanted)
    page = [HEAD]
    for name in wanted:
        rng = np.random.default_rng(1)
        curves = real[name]
        if len(curves) > 300:
            curves = [curves[k] for k in rng.choice(len(curves), 300, replace=False)]
        made = list(twins(curves, pool(CLASSES[name])))
        lines = report(curves, made)
        for line in lines:
            print(f"{name:7s} {line[0]:18s} {line[1]:32s} {line[2]:32s} {line[3]:>6s} {line[4]:>5s}")
        picture = f"figures/{CLASSES[name]}.png"
        class_picture(DOCS / picture, name, real=laid_over(curves), made=laid_over(made), span=SPAN[name])
        page += [
            f"## {name}\n\n![{name}: real and simulated]({picture})\n\n",
            "| | real | simulated | apart | width |\n| --- | --- | --- | --- | --- |\n",
        ]
        page += [f"| {' | '.join(line)} |\n" for line in lines] + ["\n"]
    if len(sys.argv) > 1:
        return
    days = {"xlim": (0.1, 30), "xscale": "log", "ylim": (6, -4), "xlabel": "days after the event"}
    curves_picture(DOCS / "figures/fast.png", fast_panels(), axes_of=days)
    curves_picture(DOCS / "figures/lens.png", lens_panels(), axes_of={"xlim": (-4, 4), "ylim": (4.5, -0.5), "xlabel": "half-widths"})
    curves_picture(
        DOCS / "figures/stars.png", star_panels(), axes_of={"xlim": (0, 1), "ylim": (-1.1, 1.1), "xlabel": "phase", "ylabel": ""}
    )
    (DOCS / "simulated.md").write_text("".join([*page, TAIL]))


if __name__ == "__main__":
    main()
