"""Which challengers pass the gates: good ones and bad ones of many seeds, before the gates as the stream asks and judges.

a bundle → by kind of challenger: how many pass, how many are truly worse on all the alerts whose truth the study knows

The sky is the demo's population in the stream's mix with 5 % of a class that the encoder never saw. A challenger is the champion with its
head taught the new class from 20 examples, or with a last layer fitted anew, well or badly. Alerts arrive; whenever there are twice as many
people have answered what was asked, and the gates judge, until they decide or the alerts are over.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from data.simulate import arrays
from data.simulate.classes import STREAM_MIX
from data.simulate.described import shipped
from evaluation import zeroshot
from evaluation.gate_figures import Scores, seen
from evaluation.gates import judge, wanted
from gpu.session import Session
from learning.dataset import NAMES, SLUG_OF, embed_alerts, from_batch, join
from operators import taught
from operators.head import Head, Views, see
from operators.head import judge as run_head
from operators.taught import FALSE_CALLS_IN_SIGHT, WINDOW_CALLS, Reference
from registry.bundle import Bundle
from schemas.records.gate_report import PASSED, GateReport

NEW = "luminous-fast-cooler"
"""No class of the stream, and none that the encoder saw."""
SHARE = 0.05
EXAMPLES, POOL, WINDOW = 20, 120, 2000
STREAM, NEW_ALERTS = 9000, 520
STEPS = (500, 1000, 2000, 4000)
"""Alerts at which the gates look."""
ASK = 20
MOST_TRIES = 8
"""Seeds that are tried for one challenger that is truly worse."""
MODEL = "challenger"
F = npt.NDArray[np.float64]
_CHUNK = 2000


class Sky(NamedTuple):
    """Embedded alerts whose truth is known; the first `WINDOW` of the stream and the first `POOL` of the new class are for challengers."""

    views: Views
    label: npt.NDArray[np.int64]  # index of the bundle's classes; len(classes): the new one

    def take(self, rows: npt.NDArray[Any]) -> Sky:
        """Some of them."""
        return Sky(Views(*(column[rows] for column in self.views)), self.label[rows])


def sky(bundle: Bundle, session: Session, *, stream: int = STREAM, new: int = NEW_ALERTS, seed: int = 0, kept: Path | None = None) -> Sky:
    """Simulate and embed; kept in a folder for the next time.

    Parameters
    ----------
    stream, new : int
        Alerts of the stream's classes and of the new one.
    kept : Path, optional
        A folder; the file's name says what it depends on.
    """
    key = zlib.crc32(f"{bundle.sha256} {stream} {new} {seed}".encode())
    path = None if kept is None else kept / f"gate-sky-{key:08x}.safetensors"
    if path is not None and path.exists():
        held = safetensors.numpy.load_file(path)
        return Sky(Views(held["embedding"], held["logits"], held["named"]), held["label"])
    columns = arrays.make(stream, 700 + seed, population="demo", processes=1, surveys={"ztf": 1.0}, classes=STREAM_MIX)
    parts = []
    for start in range(0, stream, _CHUNK):
        chunk = {name: values[start : start + _CHUNK] for name, values in columns.items()}
        parts.append(from_batch(arrays.to_batch(chunk), np.array([NAMES.index(str(kind)) for kind in chunk["kind"]])))
    alerts = join(parts)
    found = embed_alerts(alerts, session).views
    other, _ = zeroshot.seen(shipped()[NEW], session, n=new, seed=900 + seed)
    slugs = SLUG_OF[alerts.label]
    label = np.concatenate([slugs, np.full(other.views.embedding.shape[0], len(bundle.classes))]).astype(np.int64)
    views = Views(*(np.concatenate([a, np.asarray(b)]).astype(np.float32) for a, b in zip(found, other.views, strict=True)))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.numpy.save_file({**{name: np.asarray(column) for name, column in views._asdict().items()}, "label": label}, path)
    return Sky(views, label)


class Workbench(NamedTuple):
    """What challengers are made of."""

    bundle: Bundle
    reference: Reference
    window: Sky
    """Of the stream, the new class among it as often as there."""
    examples: Sky
    """Of the new class."""

    def taught(self, examples: Views, *, times: float = 1.0) -> Head:
        """The champion with the new class taught from examples."""
        return taught.teach(
            self.bundle.head, NEW, examples=examples, reference=self.reference, window=self.window.views,
            false_calls=times * FALSE_CALLS_IN_SIGHT, window_calls=times * WINDOW_CALLS,
        )  # fmt: skip


def _chosen(bench: Workbench, rng: np.random.Generator, *, wrong: int = 0, of: int | None = None) -> Views:
    """Examples of the new class, some replaced by alerts of others, or of one other class."""
    right = bench.examples.take(rng.choice(len(bench.examples.label), EXAMPLES - wrong, replace=False)).views
    if not wrong:
        return right
    ways = len(bench.bundle.classes)
    rows = np.flatnonzero(bench.window.label == of if of is not None else bench.window.label < ways)
    false = bench.window.take(rng.choice(rows, wrong, replace=len(rows) < wrong)).views
    return Views(*(np.concatenate([a, b]) for a, b in zip(right, false, strict=True)))


def _common(bench: Workbench, seed: int) -> int:
    """A class of which the window holds enough."""
    counts = np.bincount(bench.window.label, minlength=len(bench.bundle.classes))
    classes = np.flatnonzero(counts[: len(bench.bundle.classes)] >= EXAMPLES)
    return int(classes[seed % len(classes)])


def _refitted(bench: Workbench, rng: np.random.Generator, *, wrong: float = 0.0, only: int | None = None, times: float) -> Head:
    """The good head with its last layer fitted anew to labelled alerts of the window, by regression on what is left to explain.

    Parameters
    ----------
    wrong : float
        Share of wrong labels.
    only : int, optional
        Alerts of one class alone.
    times : float
        How far the step goes.
    """
    head, ways = bench.taught(_chosen(bench, rng)), len(bench.bundle.classes)
    rows = np.flatnonzero(bench.window.label == only if only is not None else bench.window.label < ways)
    rows = rng.permutation(rows)[:600]
    label = bench.window.label[rows].copy()
    mistaken = rng.random(len(rows)) < wrong
    label[mistaken] = rng.integers(0, ways, int(mistaken.sum()))
    part = bench.window.take(rows).views
    p = np.asarray(run_head(part, taught.bare(head)).probability, dtype=np.float64)[:, :ways]
    view = np.asarray(see(part, head.centre, kind_scale=head.kind_scale).view, dtype=np.float64)
    left = np.eye(ways)[label] - p
    gram = view.T @ view
    weight = np.linalg.solve(gram + 0.02 * np.trace(gram) / len(gram) * np.eye(len(gram)), view.T @ left)
    scale = times * float(head.temperature)
    return replace(
        head, ridge=(head.ridge + scale * weight.T).astype(np.float32), offset=(head.offset + scale * left.mean(axis=0)).astype(np.float32)
    )


def _sharper(head: Head, factor: float) -> Head:
    return replace(head, temperature=np.asarray(head.temperature / factor, dtype=np.float32))


Maker = Callable[[Workbench, np.random.Generator, int], Head]
KINDS: dict[str, Maker] = {
    "good: head made anew": lambda b, rng, seed: b.taught(_chosen(b, rng)),
    "good: last layer fitted anew": lambda b, rng, seed: _refitted(b, rng, times=2.0),
    "bad: labels 40 % wrong, head": lambda b, rng, seed: b.taught(_chosen(b, rng, wrong=8)),
    "bad: labels 40 % wrong, last layer": lambda b, rng, seed: _refitted(b, rng, wrong=0.4, times=8.0),
    "bad: one class only": lambda b, rng, seed: _refitted(b, rng, only=_common(b, seed), times=3.0),
    "bad: three times too sure": lambda b, rng, seed: _sharper(b.taught(_chosen(b, rng)), 3.0),
    "bad: three times too unsure": lambda b, rng, seed: _sharper(b.taught(_chosen(b, rng)), 1 / 3),
    "bad: an old class's examples": lambda b, rng, seed: b.taught(_chosen(b, rng, wrong=EXAMPLES, of=_common(b, seed))),
    "bad: ten times the false calls": lambda b, rng, seed: b.taught(_chosen(b, rng), times=10.0),
}


class Truth(NamedTuple):
    """What the study knows of a challenger: the change from the champion over all test alerts, in the stream's mix."""

    macro: float
    accuracy: float
    brier: float
    recall: float
    """Of the new class."""
    false_calls: float
    """Share of other alerts called the new class."""
    gap: float
    """Of the distance between mean confidence and accuracy."""

    @property
    def worse(self) -> bool:
        """By more than a gate allows, or nowhere better."""
        broken = self.macro < -0.03 or self.brier > 0.01 or self.gap > 0.04 or self.false_calls > 2 * FALSE_CALLS_IN_SIGHT
        return broken or (self.accuracy < 0 and self.brier > 0)


def scores_of(head: Head, views: Views, *, classes: Sequence[str], model: str) -> Scores:
    """What a head says of alerts."""
    return Scores(model, (*classes, *head.taught, "other"), np.asarray(run_head(views, head).probability, dtype=np.float32))


def truth_of(champion: Scores, challenger: Scores, *, label: npt.NDArray[np.int64]) -> Truth:
    """Compare with the truth; every alert counts."""
    names = [*(c for c in champion.classes if c != "other"), NEW]
    a, b = seen(challenger, names), seen(champion, names)
    one = np.eye(len(names))[label]
    right, before = a.best == label, b.best == label
    there = [c for c in range(len(names)) if (label == c).any()]
    new = label == len(names) - 1
    return Truth(
        float(np.mean([right[label == c].mean() - before[label == c].mean() for c in there])),
        float(right.mean() - before.mean()),
        float(((a.p - one) ** 2).sum(1).mean() - ((b.p - one) ** 2).sum(1).mean()),
        float(right[new].mean()),
        float((a.best[~new] == len(names) - 1).mean()),
        float(abs(a.sure.mean() - right.mean()) - abs(b.sure.mean() - before.mean())),
    )


def before_gates(
    champion: Scores, challenger: Scores, *, label: npt.NDArray[np.int64], seed: int, random_labels: int
) -> tuple[GateReport, int]:
    """Let alerts arrive, people answer and the gates look until they decide; the last report, and how many questions were answered.

    Parameters
    ----------
    champion, challenger : Scores
        Of n alerts in the order in which they arrive; each is of an object of its own.
    label : (n,) int
        Their truth.
    seed : int
    random_labels : int
        Of each thousand alerts, those whose class is known without being asked for.
    """
    names = [*(c for c in champion.classes if c != "other"), NEW]
    truth = [names[c] for c in label]
    rng = np.random.default_rng([seed, 5])
    known: dict[int, str] = {}
    given = rng.random(len(truth)) < random_labels / 1000
    answered = 0
    report: GateReport | None = None
    steps = [n for n in STEPS if n <= len(truth)]
    for n in steps:
        part = [Scores(s.model, s.classes, s.probability[:n]) for s in (champion, challenger)]
        owners = [str(i) for i in range(n)]
        labels = [truth[i] if given[i] else known.get(i) for i in range(n)]
        keys = [zlib.crc32(f"{seed} {i}".encode()) for i in range(n)]
        for i in wanted(*part, labels=labels, owners=owners, most=ASK, keys=keys):
            known[i] = labels[i] = truth[i]
            answered += 1
        report = judge(*part, labels=labels, owners=owners, budget=FALSE_CALLS_IN_SIGHT, final=n == steps[-1], seed=seed)
        if report.verdict != "waiting":
            break
    assert report is not None
    return report, answered


def gate_study(
    bundle: Bundle,
    session: Session,
    *,
    seeds: int = 20,
    first: int = 0,
    kept: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The table; see the module. `first` is the seed of the sky, and of the first challenger of a kind."""
    whole = sky(bundle, session, seed=first, kept=kept)
    ways = len(bundle.classes)
    stream, new = np.flatnonzero(whole.label < ways), np.flatnonzero(whole.label == ways)
    mixed = round(SHARE * WINDOW)
    bench = Workbench(
        bundle, bundle.reference, whole.take(np.concatenate([stream[: WINDOW - mixed], new[POOL : POOL + mixed]])), whole.take(new[:POOL])
    )
    held = new[POOL + mixed :]
    rest = stream[WINDOW - mixed :][: round(len(held) / SHARE * (1 - SHARE))]
    test = whole.take(np.concatenate([rest, held]))
    champion = scores_of(bundle.head, test.views, classes=bundle.classes, model="champion")
    out: dict[str, Any] = {
        "alerts": len(test.label), "new": len(held), "seeds": seeds, "asked": "20 at a time", "kinds": {},
    }  # fmt: skip
    for kind, make in KINDS.items():
        rows: list[dict[str, Any]] = []
        tried = 0
        while len(rows) < seeds and tried < MOST_TRIES * seeds:
            row = _one(bench, champion, test=test, make=make, seed=first + tried, only_worse=kind.startswith("bad"))
            rows += [row] if row is not None else []
            tried += 1
        out["kinds"][kind] = {"challengers": len(rows), "tried": tried, **(_summary(rows) if rows else {})}
        progress(f"{kind}: {out['kinds'][kind]}")
    return out


def _one(
    bench: Workbench,
    champion: Scores,
    *,
    test: Sky,
    make: Callable[[Workbench, np.random.Generator, int], Head],
    seed: int,
    only_worse: bool,
) -> dict[str, Any] | None:
    """A challenger before the gates; None: it was made badly, and is not worse for it."""
    head = make(bench, np.random.default_rng([seed, 77]), seed)
    challenger = scores_of(head, test.views, classes=bench.bundle.classes, model=MODEL)
    truth = truth_of(champion, challenger, label=test.label)
    if only_worse and not truth.worse:
        return None
    order = np.random.default_rng([seed, 78]).permutation(len(test.label))
    arriving = [Scores(s.model, s.classes, s.probability[order]) for s in (champion, challenger)]
    found: dict[str, Any] = {"worse": truth.worse, **truth._asdict()}
    for name, labels in (("asked", 0), ("known", 100)):
        report, answered = before_gates(*arriving, label=test.label[order], seed=seed, random_labels=labels)
        found[name] = {
            "passed": report.verdict == PASSED, "alerts": report.alerts, "answered": answered, "labels": report.labels,
            "stopped": [g.name for g in report.gates if g.failed], "open": [g.name for g in report.gates if not g.passed],
        }  # fmt: skip
    return found


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def means(name: str) -> float:
        return round(float(np.mean([row[name] for row in rows])), 4)

    out: dict[str, Any] = {name: means(name) for name in ("macro", "accuracy", "brier", "gap", "recall", "false_calls")}
    out["truly_worse"] = sum(row["worse"] for row in rows)
    for way in ("asked", "known"):
        out[way] = {
            "passed": sum(row[way]["passed"] for row in rows),
            "passed_though_worse": sum(row[way]["passed"] and row["worse"] for row in rows),
            "alerts": float(np.median([row[way]["alerts"] for row in rows])),
            "answered": float(np.median([row[way]["answered"] for row in rows])),
            "stopped_by": dict(sorted(_counted(g for row in rows for g in row[way]["stopped"]).items(), key=lambda item: -item[1])),
        }
    return out


def _counted(names: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
