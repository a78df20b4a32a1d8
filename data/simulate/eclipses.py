"""Eclipsing binaries as a sector sees them: whole, grazing, and diluted by a brighter star to what a planet's transit would be.

Draw, Window → Signal, with period, epoch and depths as truth. The light is that of `binaries`.
"""

from __future__ import annotations

import numpy as np

from data.simulate.binaries import binary_profile, eclipse_light
from data.simulate.draw import Draw
from data.simulate.instrument import Window
from data.simulate.planets import TRIES, Signal, first_after, times_of
from data.simulate.profiles import PHASES, at
from data.simulate.sky import F64

_PERIODS: dict[str, tuple[float, float, float, float]] = {
    "EA": (2.6, 0.85, 0.35, 27.0), "EB": (1.0, 0.65, 0.3, 12.0), "EW": (0.38, 0.27, 0.21, 1.3),
}  # fmt: skip
"""Median [d], e-folds, least and most: `binaries.eclipsing_binary`, of those that eclipse within a sector."""


def eclipsing(d: Draw, window: Window) -> Signal:
    """EA, EB or EW; two in three EA are grazing or blended, one in six of the others is blended.

    Blends: a brighter star in the same pixels of 21″ leaves depths of 0.05–2 % (false positives of TESS: Sullivan et al. 2015).
    """
    kind = d.kind
    assert kind is not None
    middle, sigma, low, high = _PERIODS[kind]
    period = epoch = 0.0
    for _ in range(TRIES):
        period = d.lognormal("period", middle, sigma=sigma, low=low, high=high)
        epoch = first_after(window, period, phase=float(d.rng.random()))
        if window.covers(times_of(window, epoch, period=period), 0.02).any():
            break
    how = "whole"
    if d.chance(0.65 if kind == "EA" else 0.17):
        how = "grazing" if kind == "EA" and d.chance(0.4) else "blended"
    share = _grazing(d, period) if how == "grazing" else 10 ** (-0.4 * binary_profile(d, kind, period=period))
    share = share / np.median(share)
    depth = 1 - float(share.min())
    if how == "blended":
        share = 1 + (share - 1) * min(d.loguniform("diluted", 0.0005, high=0.02) / depth, 1.0)
    first = int(np.argmin(share))  # the deeper eclipse, wherever an eccentric orbit or spots put it
    share = np.roll(share, -first)
    depth = 1 - float(share[0])
    opposite = share[len(PHASES) // 5 : -len(PHASES) // 5]
    truth = {"period": period, "epoch": epoch, "depth": depth, "secondary": 1 - float(opposite.min()), how: 1.0}
    if kind == "EA":
        truth["duration"] = period * _eclipsed(share)
    return Signal(lambda time: at(share, (time - epoch) / period), truth)


def _grazing(d: Draw, period: float) -> F64:
    """Discs that just touch: shallow and V-shaped."""
    reach = d.lognormal("radii", 3.0, sigma=0.4) / (4.2 * (d.lognormal("mass", 2.0, sigma=0.4) * period**2) ** (1 / 3))
    reach = float(np.clip(reach, 0.05, 0.5))
    part, surface = d.uniform("part", 0.35, high=0.65), d.uniform("surface", 0.1, high=1.0)
    share = np.ones_like(PHASES)
    for _ in range(TRIES):
        cosine = reach * d.uniform("graze", 0.72, high=0.98)
        share = eclipse_light(reach * part, reach * (1 - part), surface=surface, inclination=float(np.arccos(cosine)), phase=PHASES)
        if 1 - share.min() > 5e-4:
            break
    return share


def _eclipsed(share: F64) -> float:
    """Turns around the deepest point in which more than a tenth of its depth is lost."""
    lost = (1 - share) > 0.1 * (1 - share[0])
    if lost.all():
        return 1.0
    after, before = int(np.argmin(lost)), int(np.argmin(lost[::-1]))
    return (after + before) / len(share)
