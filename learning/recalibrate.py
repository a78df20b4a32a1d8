"""The head of a bundle made anew, its encoder as it is.

bundle, newly simulated held-out alerts, real packets where there are → bundle with the same `encoder.onnx`

`learning.recipe` makes its head by the same functions. The seeds are those of the training: calibration and evaluation share no alert
with it. The command (`python -m tools.remake_head`) stands in the manifest as `head_command`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from data.simulate.classes import SLUGS, STREAM_MIX
from gpu.ort import OrtSession
from gpu.session import Session
from learning import assessment
from learning.augment import augment
from learning.dataset import I64, NAMES, SLUG_OF, Alerts, embed_alerts, kept, simulate, simulate_curves, simulate_space
from learning.head_calibration import Calibrated, calibrate
from learning.real_sky import RealAlerts
from learning.real_sky import read as read_real
from learning.workplace import Progress, Workplace
from operators.head import Head, Judged, Views, judge
from operators.namespace import to_host
from operators.taught import Reference
from operators.types import F32
from pipeline.embed import Inputs, embed, gather
from registry.bundle import Bundle, BundleError, Golden, Parts, refuse, save

HELD_OUT = 12_000
"""Alerts for calibration, at most."""
HELD_CURVES = 8_000
"""Light curves without images for the reference."""
HELD_SPACE = 3_000
"""Light curves of stars from space, at most."""
DEMO = 6_000
"""Alerts of the demo's population to report on, at most."""
EACH = 1_500
"""Reference alerts of each stratum."""
GOLDEN = 8


def class_of_kinds() -> F32:
    """(K, k) 1 where a kind belongs to a class of the stream."""
    return np.asarray(SLUG_OF[:, None] == np.arange(len(SLUGS)), dtype=np.float32)


def fit_head(held_out: Alerts, curves: Alerts, *, space: Alerts, session: Session, real: RealAlerts | None) -> tuple[Calibrated, Reference]:
    """Fit the head on alerts half of which are seen as badly as in training: the sky is not the simulation, and confidence should know.

    Parameters
    ----------
    held_out, curves : Alerts
        With and without images; no weight of the encoder has seen them.
    space : Alerts
        Light curves of stars from space; those of kinds without a class play no part.
    session : Session
    real : RealAlerts, optional
        Which the ridge is also fitted on.
    """
    rng = np.random.default_rng(len(held_out))
    rows = rng.permutation(len(held_out))
    worse = augment(held_out.take(rows[::2]), rng)
    space = space.take(SLUG_OF[space.label] >= 0)
    seen = gather(embed_alerts(chosen, session) for chosen in (worse, held_out.take(rows[1::2]), space)).views
    kind = np.concatenate([held_out.label[rows[::2]], held_out.label[rows[1::2]], space.label])
    star = np.arange(len(kind)) >= len(rows)
    order = np.concatenate([rng.permutation(len(rows)), len(rows) + rng.permutation(len(space))])
    views, kind = Views(*(column[order] for column in seen)), kind[order]
    label, sky = SLUG_OF[kind], None if real is None else real.sky(SLUGS)
    found = calibrate(views, label, classes=SLUGS, mix=STREAM_MIX, zero_shot=class_of_kinds(), kind=kind, sky=sky, star=star)
    apart = (np.arange(len(label)) % 3 == 2) & ~star  # what neither prototypes, ridge nor weights were made of
    return found, _reference(Views(*(column[apart] for column in views)), label[apart], curves=curves, session=session)


def _reference(views: Views, label: I64, *, curves: Alerts, session: Session) -> Reference:
    """As many alerts with images as without."""
    bare = curves.take(SLUG_OF[curves.label] >= 0)
    bare = bare.take(slice(0, EACH))
    parts = [Views(*(column[:EACH] for column in views))]
    labels, images = [label[:EACH]], [np.ones(len(label[:EACH]), dtype=bool)]
    if len(bare):
        parts.append(embed_alerts(bare, session).views)
        labels.append(SLUG_OF[bare.label])
        images.append(np.zeros(len(bare), dtype=bool))
    joined = Views(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    halves = Views(*(np.asarray(np.clip(column, -6e4, 6e4), dtype=np.float16) for column in joined))
    return Reference(halves, np.concatenate(labels), np.concatenate(images))


def golden_of(held_out: Alerts, session: Session, *, head: Head) -> Golden:
    """A few inputs and what encoder and head answer."""
    few = held_out.take(slice(0, GOLDEN))
    shown = Inputs(*few.inputs())
    seen = embed(few.batch(), session, inputs=shown)
    answer = seen.views.named, seen.embedding, seen.logits, judge(seen.views, head).probability
    return Golden(*(to_host(array) for array in (*shown, *answer)))


def real_alerts(workplace: Workplace, session: Session, *, progress: Progress) -> RealAlerts | None:
    """Read the real alerts of a workplace that has some."""
    found = None if workplace.real is None else read_real(workplace.real, session, classes=SLUGS)
    which = "simulated alerts alone: no labelled real packets" if found is None else f"simulated alerts and {len(found)} real ones"
    progress.stage(f"fitting the head on {which}")
    return found


def assess(
    demo: Alerts, session: Session, *, space: Alerts, found: Calibrated, real: RealAlerts | None, progress: Progress
) -> dict[str, Any]:
    """Figures for the manifest: simulated alerts and stars of the demo's population, and labelled real packets where they are.

    A real alert is judged by the head that has not seen its object.
    """
    judged, _ = assessment.judge_alerts(demo, session, head=found.head)
    figures = {"demo": assessment.figures(judged, SLUG_OF[demo.label], number=demo.number, classes=SLUGS)}
    progress.figures("simulated alerts of the demo's population", figures["demo"])
    space = space.take(SLUG_OF[space.label] >= 0)
    judged, _ = assessment.judge_alerts(space, session, head=found.head)
    figures["space"] = assessment.figures(judged, SLUG_OF[space.label], number=space.number, classes=SLUGS, least=5)
    progress.figures("simulated light curves from space, of the demo's population", figures["space"])
    if real is not None:
        apart = real.judged(found.unseen)
        known = real.label >= 0
        labelled = Judged(*(column[known] for column in apart))
        figures["real"] = assessment.figures(labelled, real.label[known], number=real.number[known], classes=SLUGS, least=1)
        figures["real"]["stars"] = real.stars(apart, SLUGS)
        progress.figures("labelled real ZTF packets, each by a head that has not seen its object", figures["real"])
    return figures


class Part(IntEnum):
    """What a seed of a bundle is drawn for; no two share an alert."""

    TRAINING = 0
    CALIBRATION = 1
    EVALUATION = 2

    def of(self, seed: int) -> int:
        """The simulator's seed."""
        return len(Part) * seed + self


TRAINING, CALIBRATION, EVALUATION = Part


def held_out_alerts(number: int, seed: int, *, workplace: Workplace) -> Alerts:
    """Alerts that calibrate the head, made or read."""
    return kept(
        workplace.file("held-out", number, seed=seed), lambda: simulate(number, CALIBRATION.of(seed), processes=workplace.processes)
    )


def held_out_curves(number: int, seed: int, *, workplace: Workplace) -> Alerts:
    """Light curves without images for the reference, made or read."""
    return kept(
        workplace.file("held-curves", number, seed=seed),
        lambda: simulate_curves(number, CALIBRATION.of(seed), processes=workplace.processes),
    )


def demo_alerts(number: int, seed: int, *, workplace: Workplace) -> Alerts:
    """Alerts of the demo's population to report on, made or read."""
    return kept(
        workplace.file("demo", number, seed=seed),
        lambda: simulate(number, EVALUATION.of(seed), population="demo", processes=workplace.processes, surveys={"ztf": 1.0}),
    )


def held_out_space(number: int, seed: int, *, workplace: Workplace) -> Alerts:
    """Light curves of stars from space that calibrate the head, made or read."""
    return kept(
        workplace.file("held-space", number, seed=seed),
        lambda: simulate_space(number, CALIBRATION.of(seed), processes=workplace.processes),
    )


def demo_space(number: int, seed: int, *, workplace: Workplace) -> Alerts:
    """Light curves of stars from space, of the demo's population, to report on, made or read."""
    return kept(
        workplace.file("demo-space", number, seed=seed),
        lambda: simulate_space(number, EVALUATION.of(seed), population="demo", processes=workplace.processes),
    )


def recalibrate(bundle: Bundle, workplace: Workplace, *, progress: Progress, command: str) -> Bundle:
    """Make a bundle's head anew.

    Parameters
    ----------
    bundle : Bundle
        Whose encoder stays as it is, and whose seed says which alerts it has not seen.
    workplace : Workplace
    progress : Progress
    command : str
        For the manifest's `head_command`.

    Raises
    ------
    BundleError
        The bundle is of other classes or kinds than the simulator's, or `Workplace.out` holds something else than a bundle.
    """
    if bundle.classes != SLUGS or bundle.kinds != NAMES:
        raise BundleError(f"{bundle.path} is of other classes or kinds than the simulator's: train anew")
    refuse(workplace.out)
    seed = bundle.manifest.seed
    progress.stage(f"simulating {HELD_OUT:,} alerts and {HELD_CURVES:,} light curves to calibrate with, {DEMO:,} alerts to report on")
    held_out, curves = held_out_alerts(HELD_OUT, seed, workplace=workplace), held_out_curves(HELD_CURVES, seed, workplace=workplace)
    demo = demo_alerts(DEMO, seed, workplace=workplace)
    space = held_out_space(HELD_SPACE, seed, workplace=workplace)
    stars = demo_space(HELD_SPACE // 2, seed, workplace=workplace)
    session = OrtSession(bundle.encoder)
    real = real_alerts(workplace, session, progress=progress)
    found, reference = fit_head(held_out, curves, space=space, session=session, real=real)
    manifest = bundle.manifest.model_dump(exclude={"format", "files", "lock"})
    manifest["figures"] = {**manifest["figures"], **assess(demo, session, space=stars, found=found, real=real, progress=progress)}
    manifest["head_command"] = command
    golden = golden_of(held_out, session, head=found.head)
    return save(workplace.out, Parts(manifest, bundle.encoder, found.head, reference, golden, found.unseen))
