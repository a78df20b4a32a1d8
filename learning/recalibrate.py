"""The head of a bundle made anew, its encoder as it is: ``python -m learning.recalibrate --bundle B --out B``.

bundle, newly simulated held-out alerts → bundle with the same `encoder.onnx`

`learning.train` makes its head by the same functions. The seeds are those of the training: calibration and evaluation share no alert with
it. The command stands in the manifest as `head_command`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from data.simulate.classes import SLUGS, STREAM_MIX
from gpu.ort import OrtSession
from gpu.session import Session
from learning import assessment
from learning.augment import augment
from learning.calibrate import calibrate
from learning.dataset import I64, NAMES, SLUG_OF, Alerts, embed_alerts, kept, simulate, simulate_curves
from operators.head import Head, Views, judge
from operators.taught import Reference
from operators.types import F32
from pipeline.embed import Inputs, embed, gather
from registry.bundle import PUBLISHED, Bundle, BundleError, Golden, Parts, load, save

HELD_OUT = 12_000
"""Alerts for calibration, at most."""
HELD_CURVES = 8_000
"""Light curves without images for the reference."""
DEMO = 6_000
"""Alerts of the demo's population to report on, at most."""
EACH = 1_500
"""Reference alerts of each stratum."""
GOLDEN = 8

Say = Callable[[str], None]


def class_of_kinds() -> F32:
    """(K, k) 1 where a kind belongs to a class of the stream."""
    return np.asarray(SLUG_OF[:, None] == np.arange(len(SLUGS)), dtype=np.float32)


def fit_head(held_out: Alerts, curves: Alerts, session: Session) -> tuple[Head, Reference]:
    """Fit the head on alerts half of which are seen as badly as in training: the sky is not the simulation, and confidence should know.

    Parameters
    ----------
    held_out, curves : Alerts
        With and without images; no weight of the encoder has seen them.
    """
    rng = np.random.default_rng(len(held_out))
    rows = rng.permutation(len(held_out))
    worse = augment(held_out.take(rows[::2]), rng)
    seen = gather(embed_alerts(chosen, session) for chosen in (worse, held_out.take(rows[1::2]))).views
    label = SLUG_OF[held_out.label[np.concatenate([rows[::2], rows[1::2]])]]
    order = rng.permutation(len(label))
    views, label = Views(*(column[order] for column in seen)), label[order]
    head = calibrate(views, label, SLUGS, STREAM_MIX, class_of_kinds())
    apart = np.arange(len(label)) % 3 == 2  # what neither prototypes, ridge nor weights were made of
    return head, _reference(Views(*(column[apart] for column in views)), label[apart], curves, session)


def _reference(views: Views, label: I64, curves: Alerts, session: Session) -> Reference:
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


def golden_of(held_out: Alerts, session: Session, head: Head) -> Golden:
    """A few inputs and what encoder and head answer."""
    few = held_out.take(slice(0, GOLDEN))
    shown = Inputs(*few.inputs())
    seen = embed(few.batch(), session, inputs=shown)
    return Golden(*shown, seen.views.named, seen.embedding, seen.logits, judge(seen.views, head).probability)


def assess(demo: Alerts, session: Session, head: Head, real: Path, console: Console) -> dict[str, Any]:
    """Figures for the manifest: simulated alerts of the demo's population, and labelled real packets where they are."""
    judged, _ = assessment.judge_alerts(demo, session, head)
    found = {"demo": assessment.figures(judged, SLUG_OF[demo.label], demo.number, SLUGS)}
    console.print(assessment.show(found["demo"], SLUGS, "simulated alerts of the demo's population"))
    if (real / "LABELS.csv").is_file():
        found["real"] = assessment.real_packets(real, session, head, SLUGS)
        console.print(assessment.show(found["real"], SLUGS, "labelled real ZTF packets"))
    return found


def set_file(sets: str | Path | None, name: str, number: int, seed: int) -> Path | None:
    """Where a simulated set is kept; None: nowhere."""
    return Path(sets) / f"{name}-{number}-{seed}.safetensors" if sets else None


def recalibrate(bundle: Bundle, out: Path, *, real: Path, console: Console, sets: Path | None = None, processes: int = 2) -> Bundle:
    """Make a bundle's head anew.

    Raises
    ------
    BundleError
        The bundle is of other classes or kinds than the simulator's, or `out` holds something else than a bundle.
    """
    if bundle.classes != SLUGS or bundle.kinds != NAMES:
        raise BundleError(f"{bundle.path} is of other classes or kinds than the simulator's: train anew")
    seed = bundle.manifest.seed
    alerts, later = 3 * seed + 1, 3 * seed + 2  # as `learning.train` draws them
    console.print(f"simulating {HELD_OUT:,} alerts and {HELD_CURVES:,} light curves to calibrate with, {DEMO:,} alerts to report on")
    held_out = kept(set_file(sets, "held-out", HELD_OUT, seed), lambda: simulate(HELD_OUT, alerts, processes=processes))
    curves = kept(set_file(sets, "held-curves", HELD_CURVES, seed), lambda: simulate_curves(HELD_CURVES, alerts, processes=processes))
    demo = kept(set_file(sets, "demo", DEMO, seed), lambda: simulate(DEMO, later, "demo", processes, surveys={"ztf": 1.0}))
    session = OrtSession(bundle.encoder)
    head, reference = fit_head(held_out, curves, session)
    manifest = bundle.manifest.model_dump(exclude={"format", "files"})
    manifest["figures"] = {**manifest["figures"], **assess(demo, session, head, real, console)}
    manifest["head_command"] = "python -m learning.recalibrate"
    return save(out, Parts(manifest, bundle.encoder, head, reference, golden_of(held_out, session, head)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m learning.recalibrate", description="A bundle's head made anew, its encoder as it is.")
    parser.add_argument("--bundle", type=Path, default=PUBLISHED, help="folder of the bundle (default: the one that ships)")
    parser.add_argument("--out", type=Path, default=PUBLISHED, help="folder to write to; may be the same")
    parser.add_argument("--sets", type=Path, metavar="DIR", help="keep the simulated sets there, or read them")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/real/ztf_alerts"), help="folder of labelled packets to report on")
    parser.add_argument("--processes", type=int, default=2, help="to simulate in (default 2)")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        made = recalibrate(
            load(options.bundle), options.out, real=options.real, console=console, sets=options.sets, processes=options.processes
        )
    except (BundleError, OSError) as error:
        print(f"protonova: {error}", file=sys.stderr)
        return 1
    console.print(f"bundle {made.sha256[:16]} in {made.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
