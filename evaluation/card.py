"""The model card, from reports and nothing else; ``python -m tools.model_card`` writes it.

reports of `protonova evaluate` and of `tools.studies` (JSON), a bundle → a page in Markdown, pictures beside it

Every figure of the card stands in a report; a report that is not there leaves a sentence that says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from errors import UserError
from evaluation.card_real import real_alerts
from evaluation.card_text import percent, table, with_interval
from evaluation.provenance import made_with, stale
from registry.bundle import Bundle

Report = Mapping[str, Any]
NEVER = (
    "to announce a discovery or to point a telescope without a person: its probabilities are for a shortlist",
    "on other bands than 3,000–10,500 Å, on spectra, or on magnitudes that were never difference or total fluxes",
    "as a measurement of rates: its priors are stated assumptions by orders of magnitude",
    "to distinguish classes that differ in spectra only (SN Ib from Ic, most SLSN-I from SLSN-II)",
    "as an image classifier on real cut-outs by a few examples: that accuracy is claimed on simulations only",
)


class CardError(UserError):
    """The card cannot be made. One line."""


EARLIER = "earlier"
"""Folder beside the reports: studies of other bundles, which cannot be made anew without training. Their figures are not the bundle's."""


def read(folder: Path) -> tuple[dict[str, Report], dict[str, Report]]:
    """Reports of evaluations by task and of studies by name.

    Raises
    ------
    CardError
        The folder holds no evaluation.
    """
    tasks, studies = _reports(folder)
    if not tasks:
        raise CardError(f"{folder} holds no report of protonova evaluate: run it with --report {folder}/NAME.json")
    return tasks, studies


def read_earlier(folder: Path) -> dict[str, Report]:
    """Studies of earlier bundles beside the reports, by name."""
    return _reports(folder / EARLIER)[1]


def _reports(folder: Path) -> tuple[dict[str, Report], dict[str, Report]]:
    tasks, studies = {}, {}
    for path in sorted(folder.glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError):
            raise CardError(f"{path} is not a report that can be read") from None
        if found.get("command") == "evaluate":
            tasks[Path(found["task_file"]).stem] = found
        elif "study" in found:
            studies[f"{found['study']}{'' if found['study'] not in studies else ' ' + path.stem}"] = found
    return tasks, studies


def card(
    bundle: Bundle,
    tasks: Mapping[str, Report],
    *,
    studies: Mapping[str, Report],
    pictures: Mapping[str, str],
    earlier: Mapping[str, Report] | None = None,
) -> str:
    """The page.

    Parameters
    ----------
    earlier : dict, optional
        Studies of earlier bundles, which stand apart.
    pictures : dict
        Name → path relative to the page, of those that were drawn.
    """
    out = _begin(bundle, tasks, studies=studies)
    out += real_alerts(studies)
    out += _accuracy(tasks)
    out += _heads(studies)
    out += _confidence(tasks)
    out += _novelty(tasks)
    if "novelty" in studies:
        out += _unseen(studies["novelty"])
    out += _time(tasks)
    out += _studies(studies)
    out += _failures(tasks)
    out += ["## What it must not be used for", "", *(f"- {use}." for use in NEVER), ""]
    if pictures:
        out += ["## Pictures", ""]
        for name, path in pictures.items():
            out += [f"![{name}]({path})", ""]
    if earlier:
        out += _earlier(tasks, earlier)
    return "\n".join(out).rstrip() + "\n"


def _begin(bundle: Bundle, tasks: Mapping[str, Report], *, studies: Mapping[str, Report]) -> list[str]:
    m = bundle.manifest
    kinds = getattr(m, "kinds", None) or m.classes
    first = next(iter(tasks.values()))
    outdated = {name: parts for name, r in {**tasks, **studies}.items() if (parts := stale(r, bundle))}
    head = f" Its head was made by `{m.head_command}`." if m.head_command else ""
    lines = [
        "# Model card",
        "",
        f"Made by `python -m tools.model_card` from the reports of `protonova evaluate`; bundle `{bundle.sha256[:12]}`, {m.created_on}, by",
        f"`{m.command}`. {m.parameters:,} parameters.{head}",
        "",
    ]
    ids = made_with(bundle)
    lines += [
        f"Encoder `{ids['encoder']}`, head `{ids['head']}`. Figures on tables depend on the encoder and the head's centre, those on",
        "packets on all of the head; a test compares the reports with the bundle that ships.",
        "",
    ]
    if outdated:
        why = ", ".join(f"{name} ({' and '.join(parts)})" for name, parts in outdated.items())
        lines += [f"**Some reports are of other bundles: {why}.**", ""]
    lines += [
        "## What it is",
        "",
        "A recurrent network reads light curves of difference or total flux (upper limits too), cut-outs where there are any, the",
        "surroundings and, for what varies for ever, a folded view. It was trained on simulations alone. A class is taught by examples:",
        f"prototypes, what the network itself says of {len(kinds)} simulated kinds, and a ridge on the embedding and on named",
        "features of the light curve, all in closed form. **The stream runs this head**: the same formula (`operators/head.py`), solved",
        "from simulated alerts where the tables' is solved from K examples a class; a class taught beside the known ones takes a",
        "calibrated share of their probabilities (`operators/taught.py`).",
        "",
        f"Classes of the stream: {', '.join(m.classes)}.",
        "",
        f"**Tuned:** {first['protocol']['tuned']}.",
        "Labels of the shared tables were used to check the simulation's physics (medians of rise times and colours). A figure on the",
        "shared tasks is therefore a little kind; one on other tables of the same layout is not.",
        "",
    ]
    return lines


def _accuracy(tasks: Mapping[str, Report]) -> list[str]:
    keys = sorted({k for r in tasks.values() for k in r["accuracy"]}, key=int)
    out = ["## Accuracy on real light curves", "", "Macro accuracy in %, 95 % interval over objects (support not resampled).", ""]
    rows = []
    for name, r in tasks.items():
        without = r["zero_shot"]["accuracy"] if r["zero_shot"] else None
        rows.append([name, percent(without), *(with_interval(r["accuracy"].get(k), r["interval"].get(k)) for k in keys)])
    out += table(["task", "no example", *(f"K = {k}" for k in keys)], rows)
    out += ["Ours minus each baseline in the same episodes, paired, in points; bold where the interval's lower end is above 0.", ""]
    rows = []
    wanted = ("forest", "forest_with_simulations", "bookkeeping", "ridge", "nearest_centroid", "random_encoder", "no_simulation")
    for name, r in tasks.items():
        for baseline in wanted:
            cells = []
            for k in keys:
                gain = r["gains"].get(k, {}).get(baseline)
                text = with_interval(gain["gain"], gain["interval"], signed=True) if gain else "–"
                cells.append(f"**{text}**" if gain and gain["interval"][0] > 0 else text)
            if any(c != "–" for c in cells):
                rows.append([name, baseline.replace("_", " "), *cells])
    out += table(["task", "over", *(f"K = {k}" for k in keys)], rows)
    controls = {name: r["control"] for name, r in tasks.items() if r.get("control")}
    for name, c in controls.items():
        out.append(
            f"Control of {name}: {c['curves']:,} curves of the same simulation, {c['trees']} trees, depth {c['depth'] or 'free'}, "
            f"leaves of {c['leaf']}, weights {c['weight']}, all chosen on simulations."
        )
    return [*out, ""] if controls else out


def _before(tasks: Mapping[str, Report], studies: Mapping[str, Report]) -> list[str]:
    """Beside the head before this one: the same episodes, the same encoder."""
    found = studies.get("earlier")
    if found is None:
        return []
    keys = sorted({k for r in tasks.values() for k in r["accuracy"]}, key=int)
    rows, baselines = [], []
    for name, r in tasks.items():
        old = found["tasks"].get(name)
        if old is None:
            continue
        cells = []
        for k in keys:
            change = 100 * (r["accuracy"][k] - old["accuracy"][k]) if k in r["accuracy"] and k in old["accuracy"] else None
            cells.append("–" if change is None else f"{100 * old['accuracy'][k]:.1f} → {100 * r['accuracy'][k]:.1f} ({change:+.1f})")
        rows.append([name, *cells])
        for baseline in sorted({baseline for values in old["baselines"].values() for baseline in values}):
            gains = [
                r["accuracy"][k] - old["baselines"].get(k, {}).get(baseline, float("nan")) if k in r["accuracy"] else None for k in keys
            ]
            baselines.append([name, baseline.replace("_", " "), *("–" if g is None or g != g else f"{100 * g:+.0f}" for g in gains)])
    out = ["### Beside the head before", "", f"{found['note']}", ""]
    out += table(["task", *(f"K = {k}" for k in keys)], rows)
    out += ["Ours minus baselines of those reports in the same episodes, in points (no interval: these were not run again).", ""]
    return out + table(["task", "over", *(f"K = {k}" for k in keys)], baselines)


def _heads(studies: Mapping[str, Report]) -> list[str]:
    """What the stream's head changed, and what a taught class costs."""
    found = studies.get("heads")
    if found is None:
        return []
    out = ["## The head of the stream", ""]
    if found.get("packets"):
        out += _against(found["packets"])
    out += [
        "A class taught beside the known ones from K real light curves, its kinds silenced, on the other real curves: recall, false",
        "calls and the change of the old classes' macro accuracy in points. With a window: half of the curves, unlabelled, may hold",
        "2 % of calls, true ones among them, so that a class that is 8 % of a table (SLSN) cannot be found whole. The strength of the",
        "ridge and the rule of the threshold were chosen with these curves in view: on others expect a little worse.",
        "",
    ]
    rows = [
        [slug, k, way, percent(v["recall"]), percent(v["false_calls"], 1), f"{100 * v['macro_change']:+.1f}"]
        for slug, by_k in found["taught"].items()
        for k, ways in by_k.items()
        for way, v in ways.items()
    ]
    return out + table(["class", "K", "threshold from", "recall, %", "false calls, %", "old macro"], rows)


def _against(p: Report) -> list[str]:
    """What another head changes on packets."""
    out = [
        f"Against the head before (prototypes and zero-shot view, no ridge) on {p['packets']} real packets: another top class in",
        f"{p['top_changed']}, largest change of a probability {p['largest_change']:.3f}, the median packet's",
        f"{p['median_largest_change']:.4f}.",
        "",
    ]
    rows = [[c, str(v["n"]), percent(v["before"]), percent(v["after"])] for c, v in p["classes"].items()]
    rows.append(["all", str(p["labelled"]), percent(p["accuracy"]["before"], 1), percent(p["accuracy"]["after"], 1)])
    return out + table(["labelled packets", "number", "right before, %", "right now, %"], rows)


def _confidence(tasks: Mapping[str, Report]) -> list[str]:
    out = [
        "## Confidence",
        "",
        "ECE above its null (what a perfect model shows with these objects and episodes); what the 90 % sets hold, in %, and their size.",
        "",
    ]
    rows = []
    for name, r in tasks.items():
        for k in r["accuracy"]:
            sets = r["conformal"][k]
            rows.append([
                name, k, f"{r['ece_above_null'][k]:+.3f}", f"{r['brier'][k]:.3f}",
                with_interval(sets["coverage"], sets["interval"]) if sets else "–", f"{sets['size']:.2f}" if sets else "–",
            ])  # fmt: skip
    return out + table(["task", "K", "ECE above null", "Brier", "90 % sets hold", "classes in a set"], rows)


def _novelty(tasks: Mapping[str, Report]) -> list[str]:
    out = [
        "## What is new",
        "",
        "Each class left out of the examples in turn: AUROC of distinguishing it from the others, and FPR at 95 %.",
        "",
    ]
    rows = []
    for name, r in tasks.items():
        for k, found in (r["open_set"] or {}).items():
            if found and "learned" in found["mean"]:
                hardest = min(found["left_out"].items(), key=lambda item: item[1]["learned"])
                rows.append([
                    name, k, f"{found['mean']['learned']:.2f}", f"{found['mean']['learned_fpr95']:.2f}",
                    f"{hardest[0]} {hardest[1]['learned']:.2f}",
                ])  # fmt: skip
    out += table(["task", "K", "AUROC", "FPR at 95 %", "hardest"], rows)
    return out


def _unseen(found: Report) -> list[str]:
    """Of an encoder that never saw some classes."""
    out = ["### Classes that an encoder never saw", ""]
    out.append(
        f"An encoder, prototypes and negatives that never saw {', '.join(found['left_out'])}: AUROC {found.get('auroc', float('nan')):.2f} "
        f"against everything else, {found['simulated']['auroc']:.2f} on {found['simulated']['new']} simulated ones."
    )
    for name, described in found.get("described", {}).items():
        out.append(f"With a description of them {name} is nearest to {described['nearest']}.")
    return [*out, ""]


def _time(tasks: Mapping[str, Report]) -> list[str]:
    rows = []
    for name, r in tasks.items():
        early = r["over_time"]
        if early:
            final = r["accuracy"][str(early["shots"])]
            cells = [percent(early["detections"].get(n, {}).get("accuracy")) for n in ("1", "2", "3", "5", "8")]
            five = early["detections"].get("5", {}).get("accuracy")
            rows.append([name, *cells, percent(final), percent(five / final) if five else "–"])
    out = ["## How early", "", "Accuracy in % after so many detections (examples, queries and simulations cut alike).", ""]
    return out + table(["task", "1", "2", "3", "5", "8", "all", "five, % of all"], rows) if rows else []


def _studies(studies: Mapping[str, Report]) -> list[str]:
    out: list[str] = []
    if "ablation" in studies:
        out += ["## What each part is worth", "", "Difference to the whole in points, paired, at inference.", ""]
        for task, rows in studies["ablation"]["tasks"].items():
            keys = [k for k in rows["whole"] if k.isdigit()]
            out += table(
                [task, "no example", *(f"K = {k}" for k in keys)],
                [
                    [name, percent(row["zero_shot"]), *(with_interval(row[k]["difference"], row[k]["interval"], signed=True) for k in keys)]
                    for name, row in rows.items()
                    if "note" not in row
                ],
            )
    for found in studies.values():
        if found["study"] == "leave_out":
            rows = [
                [task, part["class"], k, f"{100 * row['recall_change']:+.1f}", f"{100 * row['macro_change']:+.1f}"]
                for task, part in found["tasks"].items()
                for k, by in part["by_k"].items()
                for row in (by["without"],)
            ]
            out += ["## A class that nothing ever saw", "", "Neither encoder nor simulation, against with it, in points.", ""]
            out += table(["task", "class", "K", "its recall", "macro"], rows)
        if found["study"] == "rare":
            whole = found["whole"]
            out += [
                "## Rare classes in a stream (simulated)",
                "",
                f"K = {found['shots']}; purity in % at half completeness where the class is {100 * found['prior']:g} % of the stream.",
                "Images and surroundings are in it: **what a few examples reach with images is claimed on these simulations only.**",
                "",
            ]
            ways = [w for w in ("whole", "no stamps", "no surroundings", "light curve alone") if found.get(w)]
            rows = [
                [c, *(percent(found[w]["purity"][c]["purity"]) for w in ways), percent(whole["purity"][c]["highest"])]
                for c in whole["purity"]
            ]
            out += table(["class", *ways, "so many alerts can show"], rows)
        if found["study"] == "coverage":
            rows = [
                [task, k, with_interval(sets["coverage"], sets["interval"]), f"{part['alike']['ece_above_null'][k]:+.3f}"]
                for task, part in found["tasks"].items()
                for k, sets in part["alike"]["conformal"].items()
                if sets
            ]
            out += ["## Confidence where simulations are true", ""]
            out += table(["looked at as", "K", "90 % sets hold", "ECE above null"], rows)
    return out


def _earlier(tasks: Mapping[str, Report], earlier: Mapping[str, Report]) -> list[str]:
    """Studies that are not of this bundle, each with the one it is of."""
    out = [
        "# Studies of earlier bundles",
        "",
        "**None of these figures is of the bundle above.** They say what parts and classes were worth then.",
        "",
    ]
    rows = [[name, f"`{r['bundle'][:12]}`"] for name, r in earlier.items() if "bundle" in r]
    out += table(["study", "bundle"], rows)
    return out + _before(tasks, earlier) + (_unseen(earlier["novelty"]) if "novelty" in earlier else []) + _studies(earlier)


def _failures(tasks: Mapping[str, Report]) -> list[str]:
    """The largest confusions of each task, and its weakest class."""
    out = ["## Where it fails", ""]
    for name, r in tasks.items():
        key = "5" if "5" in r["confusion"] else next(iter(r["confusion"]))
        classes, rows = r["classes_by_k"][key], r["confusion"][key]
        pairs = [(rows[i][j], classes[i], classes[j]) for i in range(len(classes)) for j in range(len(classes)) if i != j]
        worst = ", ".join(f"{a} taken for {b} {100 * share:.0f} %" for share, a, b in sorted(pairs, reverse=True)[:3])
        weak, recall = min(r["per_class"][key].items(), key=lambda item: item[1])
        out.append(f"- {name} (K = {key}): weakest {weak} ({100 * recall:.0f} %); {worst}.")
    return [*out, ""]
