"""A challenger beside its champion as one picture: recall by class on the known alerts of the bundle, and how a new class's odds lie.

two bundles → a PNG, where matplotlib is installed; the figures it shows follow from the bundles alone
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from operators.head import Head, Views, judge
from operators.types import F64
from registry.bundle import Bundle


def recalls(bundle: Bundle, head: Head) -> F64:
    """(k,) share of each known class's reference alerts with images that a head calls so; NaN: there are none.

    Parameters
    ----------
    bundle : Bundle
        Whose reference alerts are judged.
    head : Head
        Of its encoder.
    """
    known = bundle.reference.keep(bundle.reference.images)
    found = judge(Views(*(np.asarray(column, dtype=np.float32) for column in known.views)), head).probability[:, :-1].argmax(axis=1)
    right = found == known.label
    count = np.bincount(known.label, minlength=len(bundle.classes))
    hits = np.bincount(known.label[right], minlength=len(bundle.classes))
    return np.where(count > 0, hits / np.maximum(count, 1), np.nan)


def draw(challenger: Bundle, champion: Bundle, *, path: Path) -> Path | None:
    """Draw both; None: matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    row = np.arange(len(challenger.classes))
    for shift, (name, bundle) in zip((-0.2, 0.2), (("champion", champion), ("challenger", challenger)), strict=True):
        left.barh(row + shift, np.nan_to_num(recalls(bundle, bundle.head)), height=0.4, label=f"{name} {bundle.sha256[:8]}")
    left.set_yticks(row, challenger.classes)
    left.invert_yaxis()
    left.set_xlabel("recall of known alerts with images")
    left.legend(loc="lower right", fontsize="small")
    facts = challenger.manifest.figures.get("taught", {})
    names = list(facts)
    at = np.arange(len(names))
    right.bar(at - 0.2, [facts[name]["recall"] for name in names], width=0.4, label="recall, each example by the others")
    right.bar(at + 0.2, [facts[name]["window"] for name in names], width=0.4, label="share of the window")
    right.set_xticks(at, [f"{name}\n{facts[name]['examples']} examples" for name in names])
    right.set_ylim(0, 1)
    right.set_title("taught classes" if names else "no taught class", fontsize="medium")
    right.legend(fontsize="small")
    figure.savefig(path, dpi=110)
    return path
