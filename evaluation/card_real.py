"""The model card's section on labelled real packets.

the study `real_alerts` → lines of Markdown
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.card_text import percent, table, with_interval

Report = Mapping[str, Any]


def real_alerts(studies: Mapping[str, Report]) -> list[str]:
    """What the stream says of labelled real packets: the first figures of the card, since they are what a subscriber sees."""
    found = studies.get("real_alerts")
    if found is None:
        return ["## Real packets", "", "No report of `protonova evaluate --packets`.", ""]
    out = [
        "## Real packets",
        "",
        f"{found['alerts']:,} alerts through the stream's own function, {found['labelled']:,} with a label (docs/labels.md), each",
        "once. In %, 95 % interval over objects. The published class, beside it the most probable one of balanced classes.",
        "",
    ]
    rows = []
    for bar in found["bars"]:
        limit = f"≥ {percent(bar['least'])}" if bar["least"] is not None else f"≤ {percent(bar['most'])}"
        met = {True: "yes", False: "**no**", None: "–"}[bar["met"]]
        shares = [with_interval(bar[view]["share"], bar[view]["interval"]) for view in ("decision", "balanced")]
        rows.append([bar["name"], limit, shares[0], met, shares[1], str(bar["decision"]["n"])])
    out += table(["figure", "bar", "published", "met", "balanced", "alerts"], rows)
    rows = []
    for key, title in (("without_asteroids", "without asteroids"), ("all", "with asteroids")):
        for stratum, part in found["decision"]["accuracy"][key].items():
            cells = [with_interval(part[name]["share"], part[name]["interval"]) for name in part]
            rows.append([title, stratum, str(part["exact"]["n"]), *cells[:2], str(part["exact"]["objects"]), *cells[2:]])
    out += table(["population", "detections", "alerts", "exact", "coarse", "objects", "exact, by object", "coarse, by object"], rows)
    rows = []
    for name, part in found["decision"]["by_class"].items():
        recall, precision, says = part["recall"], part["precision"], part["precision_where_labels_say"]
        shares = [with_interval(p["share"], p["interval"]) for p in (recall, precision, says)]
        rows.append([name, str(recall["n"]), shares[0], str(precision["n"]), shares[1], shares[2]])
    out += ["Precision counts labels outside our classes as wrong; the last column leaves out labels that do not say what varies.", ""]
    out += table(["class", "alerts", "recall", "called so", "precision", "where labels say"], rows)
    rows = []
    for least, part in found["decision"]["catalogue_stars"].items():
        shares = [with_interval(part[name]["share"], part[name]["interval"]) for name in ("star", "agn")]
        rows.append([least.replace("+", " or more"), str(part["star"]["n"]), *shares])
    out += ["Catalogue stars (star/galaxy score above .9 within 1″, no known asteroid within 5″), with or without a label:", ""]
    return out + table(["detections", "alerts", "called a star class", "called AGN"], rows)
