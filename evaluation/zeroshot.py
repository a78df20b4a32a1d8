"""A class without an example: its description is simulated and embedded, and real examples then pull it toward the truth.

description, session, centre → prototype (E,); prior (E,), examples (m, E) → prototype (E,)

What an encoder makes of a class depends on how it was looked at (the bands and the number of points alone tell much), so a description
is looked at in one of three ways: as alerts of a survey with images and surroundings (`alerts`, for the stream), cut as a table of light
curves is (`curves`), or under one object's own pattern of times, bands and errors (`under`, for the question what that object is).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from data.simulate import arrays
from data.simulate.described import Description
from data.simulate.described_source import source
from data.simulate.draw import Draw, PopulationName, generator
from data.simulate.observe import choose
from data.simulate.sample import TRIES, NeverSeenError, Sampled, sample
from data.simulate.source import Source
from data.tables import SEEN, Curves, from_arrays
from errors import UserError
from evaluation import task_head
from evaluation.pattern import Patterns, look
from gpu.session import Session
from operators import head as heads
from operators import support
from operators.types import F32, F64, Survey
from pipeline.embed import Embeddings, embed, gather

Drawn: TypeAlias = Callable[[Draw], Source]
FORMAT = "protonova-prototype-1"
CALIBRATION = 0.03
"""Flux error [share of the flux] that no published error of another object's light curve accounts for."""
AFTER = 1.3
"""Where a pattern may begin: from first light to so many times the time of the peak."""
_CHUNK = 256  # raw frames of all alerts at once would be gigabytes


class PriorError(UserError):
    """The file is not a prototype, or one of another model. One line."""


def alerts(description: Description, session: Session, *, n: int, seed: int, survey: Survey = "ztf") -> tuple[F64, Sampled]:
    """Embed `n` simulated alerts as the stream would.

    Returns
    -------
    (m, E), Sampled
        m ≤ n: what the survey detected.

    Raises
    ------
    NeverSeenError
        It detects none.
    """
    embeddings, found = seen(description, session, n=n, seed=seed, survey=survey)
    return np.asarray(embeddings.embedding, dtype=np.float64), found


def seen(description: Description, session: Session, *, n: int, seed: int, survey: Survey = "ztf") -> tuple[Embeddings, Sampled]:
    """Show the encoder `n` simulated alerts; as `alerts`, with all that a head reads of them."""
    found = sample(description, n, seed=seed, survey=survey)
    parts = []
    for start in range(0, len(found.objects), _CHUNK):
        batch = arrays.to_batch(arrays.columns(choose(o) for o in found.objects[start : start + _CHUNK]))
        parts.append(embed(batch, session))
    return gather(parts), found


def curves(description: Description, patterns: Patterns, *, n: int, seed: int, population: PopulationName = "train") -> tuple[Curves, int]:
    """Simulate light curves of a description, each looked at as an object of a task's table was.

    Returns
    -------
    Curves, int
        At most `n`, and how many objects were tried.

    Raises
    ------
    NeverSeenError
        Such looks leave nothing of it.
    """
    parts: list[dict[str, F64]] = []
    tried = 0
    while len(parts) < n and tried < TRIES * n and (parts or tried < 20 * TRIES):
        rng = generator(population, seed, tried, 33)
        tried += 1
        part = look(
            source(description, Draw(rng, population, scope=description.name, deeper=float(rng.uniform(-1.0, 2.0)))), patterns, rng=rng
        )
        if part is not None:
            parts.append(part)
    if not parts:
        raise NeverSeenError(f"{description.name}: the table's way of looking leaves nothing of {tried:,} simulated objects")
    return from_arrays([f"{description.name}-{k}" for k in range(len(parts))], parts), tried


def prototype(
    description: Description,
    session: Session,
    *,
    centre: F32 | F64,
    n: int = 300,
    seed: int = 0,
    patterns: Patterns | None = None,
    survey: Survey = "ztf",
) -> F64:
    """A class's prototype without an example.

    Parameters
    ----------
    centre : (E,)
        Of the model (`Head.centre`) or of the table.
    patterns : Patterns, optional
        Light curves looked at like that table's; default: alerts of `survey`, with images and surroundings.

    Returns
    -------
    (E,) of length 1
    """
    z = (
        alerts(description, session, n=n, seed=seed, survey=survey)[0]
        if patterns is None
        else task_head.embed(curves(description, patterns, n=n, seed=seed)[0], session).embedding
    )
    return np.asarray(heads.prototype(z, np.asarray(centre, dtype=np.float64)))


def update(prior: F64, examples: F64) -> F64:
    """Real examples pull a prior toward the truth, as `operators.support` weighs simulation against K examples: `PULL / K`.

    Parameters
    ----------
    prior : (E,)
        Of length 1.
    examples : (K, E)
        Centred embeddings of length 1 (`operators.head.centred`); with none the prior stays.

    Returns
    -------
    (E,) of length 1
    """
    if not len(examples):
        return prior
    total = examples.sum(axis=0) + support.PULL / len(examples) * prior
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-6))


def under(draw: Drawn, scope: str, *, pattern: Curves, n: int, seed: int, population: PopulationName = "train") -> Curves:
    """Objects of a class as if they had been looked at when, how and how well one real object was.

    Parameters
    ----------
    draw : callable
        A `Draw` → a `Source`: `described_source.source` of a description, or a class of `classes.CLASSES`.
    scope : str
        Its name.
    pattern : Curves
        One object.
    n, seed : how many, and which

    Returns
    -------
    Curves
        n objects (fewer where the pattern hardly ever catches one) of at least three points, the brightest as bright as the pattern's. When
        the pattern begins after first light is drawn anew for each; what would lie below the table's 3 σ is left out, as it is there.
    """
    good = np.isfinite(pattern.flux) & (pattern.flux_err > 0)
    time, wavelength = pattern.time[good] - pattern.time[good].min(), pattern.wavelength[good].astype(np.float64)
    error, brightest = pattern.flux_err[good].astype(np.float64), float(np.abs(pattern.flux[good]).max())
    lasting = bool((pattern.flux[good] < 0).any())
    parts: list[dict[str, Any]] = []
    for k in range(4 * n):
        rng = generator(population, seed, k, 31)
        source = draw(Draw(rng, population, scope=scope))
        t = time + _begin(source, rng)
        flux = source.flux(t, wavelength)
        top = float(np.abs(flux).max())
        if not np.isfinite(top) or top <= 0:
            continue
        flux = flux * (brightest / top)
        sigma = np.hypot(error, CALIBRATION * np.abs(flux))
        flux = flux + sigma * rng.standard_normal(len(flux))
        keep = (np.abs(flux) if lasting or source.persistent else flux) >= SEEN * sigma
        if keep.sum() < 3:
            continue
        missing = np.full(int(keep.sum()), np.nan)
        parts.append({"time": time[keep], "wavelength": wavelength[keep], "flux": flux[keep], "flux_err": sigma[keep], "limit": missing})
        if len(parts) == n:
            break
    return from_arrays([f"{scope}-{k}" for k in range(len(parts))], parts)


def _begin(source: Source, rng: np.random.Generator) -> float:
    """Time on the source's clock at which a pattern begins [d]."""
    low, high = source.active
    if source.persistent:
        return float(rng.uniform(low, high))
    t = low + np.geomspace(1e-4, 1.0, 400) * (high - low)
    peak = float(t[np.argmax(source.flux(t, np.full_like(t, 6200.0)))])
    return low + (peak - low) * AFTER * float(rng.random())


@dataclass(frozen=True, slots=True)
class Ranked:
    """How near one object is to each class, seen under its own pattern."""

    names: tuple[str, ...]
    """Nearest first."""
    cosine: tuple[float, ...]
    missing: tuple[str, ...]
    """Classes of which the pattern catches nothing."""


def ranked(query: Curves, inputs: Mapping[str, Drawn], *, session: Session, each: int = 100, seed: int = 0) -> Ranked:
    """Which of some classes one object is nearest to, all simulated under the object's own pattern.

    The centre is the mean of the classes' means: nothing real but the object itself is looked at.

    Parameters
    ----------
    query : Curves
        One object.
    inputs : mapping
        Name → how to draw one.
    """
    good = np.isfinite(query.flux) & (np.abs(query.flux) >= SEEN * query.flux_err)
    query = query.keep(good)
    seen, missing = {}, []
    for name, draw in inputs.items():
        z = task_head.embed(under(draw, name, pattern=query, n=each, seed=seed), session).embedding
        if len(z) < max(each // 10, 2):
            missing.append(name)
        else:
            seen[name] = z
    centre = np.mean([z.mean(axis=0) for z in seen.values()], axis=0)
    own = heads.centred(task_head.embed(query, session).embedding, centre)[0]
    cosine = {name: float(own @ heads.prototype(z, centre)) for name, z in seen.items()}
    names = sorted(cosine, key=lambda name: -cosine[name])
    return Ranked(tuple(names), tuple(cosine[name] for name in names), tuple(missing))


@dataclass(frozen=True, slots=True)
class Prior:
    """A prototype for later use, and which model and description it belongs to."""

    name: str
    bundle: str
    """sha256 of the bundle whose encoder and centre made it."""
    simulated: int
    tried: int
    seed: int
    survey: str
    prototype: npt.NDArray[np.float32]
    """(E,) of length 1."""


def save(path: Path, prior: Prior) -> None:
    """Write a prior as ``.json`` or ``.safetensors``.

    Raises
    ------
    PriorError
        Another suffix.
    OSError
        Nothing can be written there.
    """
    facts = {key: value for key, value in asdict(prior).items() if key != "prototype"} | {"format": FORMAT}
    if path.suffix == ".json":
        path.write_text(json.dumps(facts | {"prototype": [float(x) for x in prior.prototype]}, indent=1) + "\n", encoding="utf-8")
    elif path.suffix == ".safetensors":
        metadata = {key: str(value) for key, value in facts.items()}
        path.write_bytes(safetensors.numpy.save({"prototype": np.ascontiguousarray(prior.prototype)}, metadata=metadata))
    else:
        raise PriorError(f"{path}: a prototype is written as .json or .safetensors")


def load(path: Path, bundle: str) -> Prior:
    """Read a prior and see that it belongs to a bundle.

    Parameters
    ----------
    bundle : str
        sha256 of the bundle in use.

    Raises
    ------
    PriorError
        It is not a prior, or one of another bundle: embeddings of two models have nothing in common.
    """
    try:
        if path.suffix == ".json":
            facts = json.loads(path.read_text(encoding="utf-8"))
            values = np.array(facts["prototype"], dtype=np.float32)
        else:
            with safetensors.safe_open(path, framework="numpy") as file:
                facts, values = dict(file.metadata() or {}), file.get_tensor("prototype")
        prior = Prior(
            name=str(facts["name"]),
            bundle=str(facts["bundle"]),
            simulated=int(facts["simulated"]),
            tried=int(facts["tried"]),
            seed=int(facts["seed"]),
            survey=str(facts["survey"]),
            prototype=values,
        )
        made = facts["format"]
    except OSError as error:
        raise PriorError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise PriorError(f"{path} is not a prototype: {(str(error).splitlines() or [''])[0][:100]}") from None
    if made != FORMAT or values.ndim != 1 or not np.isfinite(values).all() or abs(float(np.linalg.norm(values)) - 1) > 1e-3:
        raise PriorError(f"{path} is not a prototype of the format {FORMAT}")
    if prior.bundle != bundle:
        raise PriorError(f"{path} was made with another model ({prior.bundle[:12]}…, in use is {bundle[:12]}…): describe the class anew")
    return prior
