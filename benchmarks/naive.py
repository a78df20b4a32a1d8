"""The naive stack: one alert at a time, out of the field's own libraries, as a careful astronomer writes it first. Fixed.

bytes of a ZTF packet → bytes of a Detection, through fastavro, gzip, astropy, light_curve, NumPy and torch

It does the same work as `pipeline.score` with the same weights, head and outputs (a test holds embeddings, top class and features against
ours) and shares no code of the hot path with it: no kernel, no batch, no compiled engine. What could be done once is done once (schema of
the output parsed, weights loaded, feature extractors built); arrays are NumPy's where there is more than one number. It changes only when
the definition of an input or a head does; making it slower or faster is not for us to do.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
from collections.abc import Callable
from typing import Any, cast

import fastavro
import light_curve as lc
import numpy as np
from astropy.io import fits

from benchmarks.naive_packet import Curve, context_of, curve_of
from gpu.eager import EagerSession
from learning.export import restore
from operators.context import N_CONTEXT, SURROUNDINGS
from operators.features import FEATURES, NAMES, SPLIT, comparable
from operators.head import LEAST as LEAST_SHARE
from operators.head import LOWEST, NAMED
from operators.tokens import BAND_CENTRES, BAND_WIDTH, N_FEATURES, PERIODS
from operators.types import F32, N_TOKENS, RAW_STAMP, STAMP
from pipeline.state import ScoringState
from registry.bundle import Bundle
from schemas.records.table import DETECTION, parsed

OTHER = "other"
PASSED_THROUGH = ("real_bogus", "star_galaxy", "solar_system_distance")
LOG_CENTRES = np.log(np.array(BAND_CENTRES))
FREQUENCIES = 2 * math.pi / np.array(PERIODS)
BY_LIBRARY: dict[str, Any] = {
    "mean": lc.Mean(),
    "weighted_mean": lc.WeightedMean(),
    "standard_deviation": lc.StandardDeviation(),
    "amplitude": lc.Amplitude(),
    "skew": lc.Skew(),
    "kurtosis": lc.Kurtosis(),
    "reduced_chi2": lc.ReducedChi2(),
    "beyond_1_std": lc.BeyondNStd(1.0),
    "cusum": lc.Cusum(),
    "eta": lc.Eta(),
    "stetson_k": lc.StetsonK(),
    "excess_variance": lc.ExcessVariance(),
    "maximum_slope": lc.MaximumSlope(),
}
EXTRACTOR = lc.Extractor(*BY_LIBRARY.values())
QUADRANT = (3072, 3080)
"""Columns and rows of a detector's quadrant."""


def decode(packet: bytes) -> dict[str, Any]:
    """Packet → record, by fastavro."""
    alert: Any = next(fastavro.reader(io.BytesIO(packet)))
    return cast(dict[str, Any], alert)


def cutouts(record: dict[str, Any]) -> F32:
    """The three cut-outs, by gzip and astropy: (3, S, S), NaN where there is no pixel."""
    images = np.full((3, RAW_STAMP, RAW_STAMP), np.nan, dtype=np.float32)
    candidate = record["candidate"]
    for i, name in enumerate(("cutoutScience", "cutoutTemplate", "cutoutDifference")):
        cutout = record.get(name)
        if not cutout:
            continue
        with gzip.open(io.BytesIO(cutout["stampData"])) as unzipped:
            plain = io.BytesIO(unzipped.read())
        with fits.open(plain, ignore_missing_simple=True) as hdus:
            pixels = hdus[0].data
        height, width = pixels.shape
        # A stamp that the detector's edge cut is smaller: it keeps the part away from that edge.
        bottom = RAW_STAMP - height if candidate["ypos"] < QUADRANT[1] / 2 else 0
        left = RAW_STAMP - width if candidate["xpos"] < QUADRANT[0] / 2 else 0
        images[i, bottom : bottom + height, left : left + width] = pixels
    return images


def stamps(images: F32) -> F32:
    """Crop, take out background and noise, compress, and add the mask: (4, P, P)."""
    start = RAW_STAMP // 2 - STAMP // 2
    out = np.zeros((4, STAMP, STAMP), dtype=np.float32)
    cropped = images[:, start : start + STAMP, start : start + STAMP]
    for i, image in enumerate(cropped):
        lattice = image[::2, ::2].ravel()
        ordered = np.sort(lattice[np.isfinite(lattice)])
        if len(ordered):
            last = len(ordered) - 1
            low, middle, high = ordered[[last * 16 // 100, last * 50 // 100, last * 84 // 100]]
        else:
            low = middle = high = np.float32(0)
        z = (image - middle) / max((high - low) / 2, 1e-6)
        z = np.clip(np.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0), -1e6, 1e6)
        out[i] = np.sign(z) * (np.sqrt(np.sqrt(1 + np.abs(z))) - 1)
    out[3] = np.isfinite(cropped).all(axis=0)
    return out


def tokens(curve: Curve) -> F32:
    """The light curve as the network reads it: (L, F)."""
    out = np.zeros((N_TOKENS, N_FEATURES), dtype=np.float32)
    measured = np.isfinite(curve.flux)
    rank = measured.astype(int) + curve.detected
    keep = np.sort(np.lexsort((-curve.time, -rank))[:N_TOKENS])
    n = len(keep)
    if not n:
        return out
    t, colour, measured = curve.time[keep], np.log(curve.wavelength[keep]), measured[keep]
    scale = flux_scale(curve)
    since = np.clip(t - curve.first_detection, -2e4, 2e4)
    before = np.clip(t - curve.mjd, -2e4, 2e4)
    gap = np.diff(before, prepend=before[0])
    value = np.where(measured, curve.flux[keep], 0) / scale
    error = np.clip(np.where(measured, curve.flux_err[keep] / scale, 1), 1e-4, 1e4)
    limit = curve.limit[keep]
    limited = np.isfinite(limit)
    peak = np.clip(t - brightest_time(curve), -2e4, 2e4)
    phase = peak[:, None] * FREQUENCIES
    columns = [
        np.sign(since) * np.log1p(np.abs(since)) / 3,
        np.sign(before) * np.log1p(np.abs(before)) / 3,
        np.clip(since / 100, -1, 5),
        np.clip(before / 30, -5, 1),
        np.sign(peak) * np.log1p(np.abs(peak)) / 3,
        np.clip(peak / 100, -5, 5),
        np.log1p(np.clip(gap, 0, 1e3)) / 3,
        (colour - 8.6) * 2,
        np.clip(value, -2, 2),
        np.arcsinh(10 * np.clip(value, -10, 10)) / 3,
        np.where(measured, np.log10(error) / 2 + 0.5, 0),
        np.arcsinh(np.clip(value / error, -100, 300)) / 4,
        curve.detected[keep],
        limited,
        np.arcsinh(10 * np.clip(np.where(limited, limit, 0) / scale, 0, 100)) / 3,
    ]
    out[:n, : len(columns)] = np.stack(columns, axis=1)
    first, waves = len(columns), len(FREQUENCIES)
    out[:n, first : first + waves] = np.sin(phase)
    out[:n, first + waves : first + 2 * waves] = np.cos(phase)
    out[:n, first + 2 * waves : -1] = np.exp(-0.5 * ((colour[:, None] - LOG_CENTRES) / BAND_WIDTH) ** 2)
    out[:n, -1] = 1
    return out


def weighted(curve: Curve) -> F32:
    """|flux| of the detections, each weighted by how sure it is [µJy]; 0 elsewhere."""
    sure = curve.detected & np.isfinite(curve.flux) & (curve.flux_err > 0)
    flux = np.abs(np.where(sure, curve.flux, 0))
    ratio = (flux / np.where(sure, curve.flux_err, 1)) ** 2
    return np.asarray(flux * ratio / (ratio + 9), dtype=np.float32)


def flux_scale(curve: Curve) -> float:
    """The brightest detection [µJy]; without one the deepest limit."""
    brightest = float(weighted(curve).max(initial=0.0))
    if brightest > 0:
        return max(brightest, 1e-3)
    limits = curve.limit[np.isfinite(curve.limit)]
    return max(float(limits.min()) if len(limits) else 1e6, 1e-3)


def brightest_time(curve: Curve) -> float:
    """When the brightest detection was [d]; without one the alert's own time."""
    light = weighted(curve)
    return float(curve.time[light.argmax()]) if light.max(initial=0.0) > 0 else curve.mjd


def features(curve: Curve) -> F32:
    """The named features, by light_curve: (len(FEATURES),)."""
    out = np.full((2, len(NAMES)), np.nan, dtype=np.float32)
    usable = np.isfinite(curve.flux) & (curve.flux_err > 0)
    blue = curve.wavelength < SPLIT
    for view, keep in enumerate((usable & blue, usable & ~blue)):
        t, m, e = curve.time[keep], curve.flux[keep].astype(np.float64), curve.flux_err[keep].astype(np.float64)
        out[view, 0] = len(t)
        if not len(t):
            continue
        out[view, 1:14] = EXTRACTOR(t, m, e, sorted=True, check=False, fill_value=np.nan)  # each feature has its own least number of points
        out[view, 15] = curve.mjd - t[m.argmax()]
        if len(t) > 1:
            offset = t - t.mean()
            out[view, 14] = (offset * (m - m.mean())).sum() / (offset**2).sum()
    return out.ravel()


class Naive:
    """The whole stack with its network and head loaded.

    Parameters
    ----------
    bundle : Bundle
    state : ScoringState
        For the names and ids that go into a record; nothing of it computes.
    """

    def __init__(self, bundle: Bundle, state: ScoringState) -> None:
        self.session = EagerSession(restore(bundle.encoder), buckets=(1,))
        self.weights = bundle.head
        self.names = (*bundle.classes, OTHER)
        self.state = state
        self.schema = parsed(DETECTION)

    def network(self, tokens: F32, stamps: F32, context: F32) -> tuple[F32, F32]:
        """One alert through torch, op by op → embedding, logits."""
        embedded = self.session.run(tokens[None], stamps[None], context[None])
        return embedded.embedding[0], embedded.logits[0]

    def head(self, embedding: F32, logits: F32, *, named: F32) -> dict[str, Any]:
        """Prototypes, zero-shot logits and the ridge → probabilities, novelty, conformal set."""
        head = self.weights
        shifted = embedding - head.centre
        unit, log_kinds = shifted / max(float(np.linalg.norm(shifted)), 1e-6), log_softmax(logits)
        cosine = np.full(head.ways, -2.0)
        np.maximum.at(cosine, np.asarray(head.prototype_class, dtype=int), head.prototypes @ unit)
        zero_shot = np.log(np.maximum(np.exp(log_kinds) @ head.zero_shot, LEAST_SHARE))
        view = np.concatenate([unit, np.clip(log_kinds, LOWEST, 0) / head.kind_scale, NAMED * comparable(named[None])[0]])
        score = head.cosine_weight * cosine + head.zero_shot_weight * zero_shot + head.ridge @ view + head.offset
        known = np.exp(log_softmax(score / head.temperature))
        nearest = int(cosine.argmax())
        distance = 1 - float(cosine[nearest])
        far = (distance - float(head.novelty_location[nearest])) / float(head.novelty_scale[nearest])
        novelty = float(known @ head.novelty_share) / (1 + math.exp(-min(max(far, -30), 30)))
        probability = np.append(known * (1 - novelty), novelty)
        prior = probability * head.prior
        order = np.argsort(-probability, kind="stable")
        inside = np.cumsum(probability[order]) - probability[order] <= head.conformal
        return {
            "probability": probability,
            "prior": prior / prior.sum(),
            "order": order,
            "inside": inside,
            "novelty": novelty,
            "nearest": nearest,
            "distance": distance,
        }

    def record(self, alert: dict[str, Any], curve: Curve, *, context: dict[str, float], judged: dict[str, Any], named: F32) -> bytes:
        """A Detection in Confluent framing, as fastavro writes it."""
        order, probability, prior = judged["order"], judged["probability"], judged["prior"]
        candidate = alert["candidate"]
        candid = candidate["candid"]
        own = {name: None if math.isnan(context[name]) else context[name] for name in PASSED_THROUGH}
        detection = {
            "detection_id": f"ztf:{candid}:{self.state.scoring_id}",
            "survey": "ztf",
            "candid": candid,
            "object_id": alert["objectId"],
            "programid": candidate["programid"],
            "ra": candidate["ra"],
            "dec": candidate["dec"],
            "mjd": curve.mjd,
            "band": curve.band,
            "flux": context["flux"],
            "flux_err": abs(context["flux"] / context["signal_to_noise"]),
            "n_detections": int(curve.detected.sum()),
            "classes": [{"name": self.names[j], "probability": float(probability[j]), "prior_probability": float(prior[j])} for j in order],
            "top_class": self.names[order[0]],
            "top_probability": float(probability[order[0]]),
            "conformal_set": [self.names[j] for j in order[judged["inside"]]],
            "novelty": judged["novelty"],
            "nearest_prototype": self.names[judged["nearest"]],
            "prototype_distance": judged["distance"],
            **own,
            "features": [{"name": name, "value": float(value)} for name, value in zip(FEATURES, named, strict=True) if value == value],
            "model": self.state.model,
            "engine": self.session.engine,
            "scoring_id": self.state.scoring_id,
            "taxonomy": self.state.taxonomy,
        }
        out = io.BytesIO()
        out.write(struct.pack(">bI", 0, DETECTION))
        fastavro.schemaless_writer(out, self.schema, detection)
        return out.getvalue()

    def inputs(self, alert: dict[str, Any]) -> tuple[Curve, dict[str, float], F32, F32, F32]:
        """Record → light curve, context, and the network's three inputs."""
        curve = curve_of(alert)
        context = context_of(alert, curve)
        return curve, context, tokens(curve), stamps(cutouts(alert)), surroundings(context)

    def score(self, packet: bytes) -> bytes:
        """Packet → Detection, start to end."""
        alert = decode(packet)
        curve, context, read, seen, around = self.inputs(alert)
        named = features(curve)
        return self.record(alert, curve, context=context, judged=self.head(*self.network(read, seen, around), named=named), named=named)


def log_softmax(x: F32) -> F32:
    shifted = x - x.max()
    log: F32 = shifted - np.log(np.exp(shifted).sum())
    return log


def surroundings(context: dict[str, float]) -> F32:
    """The surroundings as the network reads them: (2 N + V,); a month of alerts has no folded view."""
    out = np.zeros(N_CONTEXT, dtype=np.float32)
    for i, name in enumerate(SURROUNDINGS):
        value = context[name]
        if not math.isnan(value):
            out[i] = min(max(SCALED[name](value), -4), 4)
            out[len(SURROUNDINGS) + i] = 1
    return out


def _clip(x: float, low: float, *, high: float) -> float:
    return min(max(x, low), high)


def _each(transform: Callable[[float], float], *names: str) -> dict[str, Callable[[float], float]]:
    return dict.fromkeys(names, transform)


SCALED: dict[str, Callable[[float], float]] = {
    **_each(lambda x: 2 * x - 1, "star_galaxy", "positive", "drb", "rb", "reliability"),
    **_each(lambda x: 2 * x - 1, "catalogue_star", "catalogue_agn", "catalogue_variable"),
    **_each(
        lambda x: math.log1p(_clip(x, 0, high=1e3)) / 2 - 0.5,
        "source_distance", "reference_distance", "solar_system_distance", "host_distance",
    ),
    **_each(lambda x: math.log10(_clip(x, 1e-2, high=1e8)) / 3 - 0.7, "source_flux", "solar_system_flux", "host_flux"),
    **_each(lambda x: math.log1p(_clip(x, 0, high=1e5)) / 3 - 1, "n_detections", "n_visits"),
    **_each(lambda x: x / 45 - 1, "galactic_latitude", "ecliptic_latitude"),
    "history": lambda x: math.log1p(_clip(x, 0, high=1e4)) / 4 - 0.7,
    "flux": lambda x: math.asinh(x / 5) / 5,
    "signal_to_noise": lambda x: math.asinh(_clip(x, -1e4, high=1e4)) / 4 - 0.5,
    "redshift": lambda x: math.log10(_clip(x, 1e-4, high=10)) / 2 + 0.5,
    "host_colour": lambda x: _clip(x, -1, high=3),
    "reference_chi": lambda x: math.log(_clip(x, 1e-3, high=1e4)) / 2,
    "reference_sharpness": lambda x: _clip(x, -1, high=1),
    "reference_error": lambda x: math.log10(_clip(x, 1e-3, high=1)) + 1.5,
}  # fmt: skip
"""The transforms of `operators.context`, for plain numbers."""
