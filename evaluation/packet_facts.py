"""What a ZTF packet looks like, as named numbers: what the network sees of it, and what it holds besides.

packets → `Facts`: one row an alert, columns by group (context, light curve, stamps; other fields of the candidate)

Numbers that a person can name, so that a difference between two sets of packets can be mended where it arises.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any

import fastavro
import numpy as np

from operators.types import CONTEXT, F64, RAW_STAMP, STAMP, AlertBatch
from schemas.surveys.decode import Decoder

CHUNK = 64
CONTEXT_FACTS: tuple[str, ...] = tuple(name for name in CONTEXT if name != "redshift")
IMAGES = ("science", "template", "difference")
CORE, RING = 3.5, 9.0
"""[pixel] from the centre: within, the target; beyond, the sky."""
BRIGHT = 30.0
"""A peak so many times the noise has a profile."""
_WINDOW = slice(RAW_STAMP // 2 - STAMP // 2, RAW_STAMP // 2 + STAMP // 2)
_Y, _X = np.mgrid[:STAMP, :STAMP] - (RAW_STAMP // 2 - _WINDOW.start)
_RADIUS: F64 = np.hypot(_Y, _X)

Fields = Mapping[str, float]
_PLAIN = (
    "rb", "drb", "chinr", "sharpnr", "sigmagnr", "neargaia", "neargaiabright", "maggaia", "sgscore2", "sgscore3", "distpsnr2",
    "distpsnr3", "nmtchps", "classtar", "nneg", "nbad", "sumrat", "magdiff", "chipsf", "seeratio", "aimagerat", "bimagerat", "sky",
    "dsnrms", "ssnrms", "dsdiff",
)  # fmt: skip
FIELDS: dict[str, Callable[[Fields], float]] = {
    **{name: itemgetter(name) for name in _PLAIN},
    "magap - magpsf": lambda c: c["magap"] - c["magpsf"],
    "scorr / S/N": lambda c: c["scorr"] * c["sigmapsf"] / 1.0857,
    "source g - r": lambda c: c["sgmag1"] - c["srmag1"],
    "source r - i": lambda c: c["srmag1"] - c["simag1"],
    "source r - magpsf": lambda c: c["srmag1"] - c["magpsf"],
    "magnr - magpsf": lambda c: c["magnr"] - c["magpsf"],
}  # fmt: skip
"""Fields of a ZTF candidate that its context does not have, each from the candidate's numbers (NaN: missing)."""
GROUPS = ("context", "light curve", "stamps", "fields")


@dataclass(frozen=True, slots=True)
class Facts:
    """n alerts; NaN where a packet does not say."""

    object_id: tuple[str, ...]
    night: F64
    """(n,) [MJD]"""
    version: tuple[str, ...]
    groups: dict[str, tuple[tuple[str, ...], F64]]
    """Group → names of its columns (d,), values (n, d)."""

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: np.ndarray[Any, Any]) -> Facts:
        """Some rows, by number or mask."""
        numbers = np.arange(len(self))[rows]
        return Facts(
            tuple(self.object_id[i] for i in numbers),
            self.night[numbers],
            tuple(self.version[i] for i in numbers),
            {group: (names, values[numbers]) for group, (names, values) in self.groups.items()},
        )

    def column(self, group: str, name: str) -> F64:
        """One column, (n,)."""
        names, values = self.groups[group]
        return values[:, names.index(name)]


def facts(packets: Iterable[bytes], *, progress: Callable[[int], None] = lambda n: None) -> Facts:
    """Read packets; what is not a ZTF alert is left out, and a candid seen before too.

    Parameters
    ----------
    packets : iterable of bytes
    progress : callable
        Called with a number of packets when they are read.
    """
    decoder, seen = Decoder(), set[int]()
    stream = iter(packets)
    object_id: list[str] = []
    night: list[float] = []
    version: list[str] = []
    rows: dict[str, list[dict[str, float]]] = {group: [] for group in GROUPS}
    while group := list(islice(stream, CHUNK)):
        decoded = decoder.decode(group)
        for i, position in enumerate(decoded.index):
            batch = decoded.batch
            if batch.survey[i] != "ztf" or batch.candid[i] in seen:
                continue
            seen.add(batch.candid[i])
            record: Any = next(fastavro.reader(io.BytesIO(group[position])))
            object_id.append(batch.object_id[i])
            night.append(float(np.floor(float(batch.mjd[i]))))
            version.append(str(record.get("schemavsn", "")))
            values = np.asarray(batch.context[i], dtype=np.float64)
            rows["context"].append({name: float(values[CONTEXT.index(name)]) for name in CONTEXT_FACTS})
            rows["light curve"].append(light_curve_facts(batch, i))
            rows["stamps"].append(stamp_facts(np.asarray(batch.stamps[i], dtype=np.float64)[:, _WINDOW, _WINDOW]))
            rows["fields"].append(field_facts(record["candidate"]))
        progress(len(group))
    tables = {}
    for name, found in rows.items():
        names = tuple(found[0]) if found else ()
        tables[name] = (names, np.array([[row[k] for k in names] for row in found]).reshape(len(found), len(names)))
    return Facts(tuple(object_id), np.array(night), tuple(version), tables)


def field_facts(candidate: Mapping[str, Any]) -> dict[str, float]:
    """The fields of `FIELDS`; -999, ZTF's way to write that there is no match, is missing."""

    class Numbers(dict[str, float]):
        def __missing__(self, key: str) -> float:
            value = candidate.get(key)
            number = float(value) if isinstance(value, int | float) else np.nan
            return np.nan if number <= -99 and key not in ("dsdiff",) else number

    numbers = Numbers()
    return {name: float(of(numbers)) for name, of in FIELDS.items()}


def _median(values: F64) -> float:
    return float(np.median(values)) if len(values) else np.nan


def light_curve_facts(batch: AlertBatch, i: int) -> dict[str, float]:
    """How alert i was looked at, and what was seen: counts, gaps, depths, colours, signs."""
    own = np.asarray(batch.valid[i])
    time, flux, error, limit, wavelength = (
        np.asarray(x[i], dtype=np.float64)[own] for x in (batch.time, batch.flux, batch.flux_err, batch.limit, batch.wavelength)
    )
    found = np.asarray(batch.detected[i])[own] & np.isfinite(flux)
    limits = 23.9 - 2.5 * np.log10(limit[np.isfinite(limit)])
    nights, at = np.unique(np.floor(time)), np.unique(np.round(time[found], 4))
    gaps, apart = np.diff(nights), np.diff(at)
    signal = np.abs(flux[found]) / error[found]
    size = np.abs(flux[found])
    blue, red = found & (wavelength < 5000) & (flux > 0), found & (wavelength > 6000) & (wavelength < 7000) & (flux > 0)
    after = time >= at[0] if len(at) else np.zeros(len(time), bool)
    return {
        "points": float(len(time)),
        "detections": float(found.sum()),
        "limits": float(len(limits)),
        "forced": float((np.isfinite(flux) & ~found).sum()),
        "nights": float(len(nights)),
        "night gap": _median(gaps),
        "largest night gap": float(gaps.max()) if len(gaps) else np.nan,
        "detection gap": _median(apart),
        "largest detection gap": float(apart.max()) if len(apart) else np.nan,
        "detections a night": len(at) / max(len(np.unique(np.floor(at))), 1),
        "depth": _median(limits),
        "depth scatter": float(np.std(limits)) if len(limits) > 2 else np.nan,
        "shallowest": float(limits.min()) if len(limits) else np.nan,
        "signal": _median(signal),
        "largest signal": float(signal.max()) if len(signal) else np.nan,
        "amplitude": float(2.5 * np.log10(size.max() / size.min())) if len(size) > 1 else np.nan,
        "negative": float(np.mean(flux[found] < 0)) if found.any() else np.nan,
        "g - r": float(-2.5 * np.log10(np.median(flux[blue]) / np.median(flux[red]))) if blue.any() and red.any() else np.nan,
        "in g": float(np.mean(wavelength < 5000)) if len(time) else np.nan,
        "in i": float(np.mean(wavelength > 7000)) if len(time) else np.nan,
        "limits before": float((~found & ~after).sum()),
        "missed after": float(np.mean(~found[after])) if after.any() else np.nan,
        "truncated": float(bool(batch.truncated[i])),
    }


def stamp_facts(images: F64) -> dict[str, float]:
    """Noise, its correlation, and the target's profile in each image (3, P, P) of the window the network sees."""
    out: dict[str, float] = {}
    noises = []
    for name, image in zip(IMAGES, images, strict=True):
        there = np.isfinite(image)
        out[f"{name} missing"] = float(1 - there.mean())
        keys = ("noise", "sky", "correlation", "correlation at 2", "peak", "tail", "width", "offset", "wing", "far wing")
        if there.sum() < 200:
            out |= {f"{name} {key}": np.nan for key in keys}
            noises.append(np.nan)
            continue
        middle = float(np.median(image[there]))
        noise = 1.4826 * float(np.median(np.abs(image[there] - middle))) + 1e-9
        noises.append(noise)
        z = (image - middle) / noise
        sky = np.where(there & (np.abs(z) < 3) & (_RADIUS > RING), z, np.nan)
        power = np.nanmean(sky**2) if np.isfinite(sky).any() else np.nan
        if name == "science":
            out["science sky"] = middle
        along = [float(np.nanmean(sky[:, k:] * sky[:, :-k]) / power) if np.isfinite(power) else np.nan for k in (1, 2)]
        out |= {f"{name} noise": noise, f"{name} correlation": along[0], f"{name} correlation at 2": along[1]}
        core = np.where(there & (_RADIUS <= CORE), z, np.nan)
        if not np.isfinite(core).any():
            out |= {f"{name} {key}": np.nan for key in ("peak", "tail", "width", "offset", "wing", "far wing")}
            continue
        y, x = np.unravel_index(int(np.nanargmax(np.abs(core))), core.shape)
        peak = float(core[y, x])
        out[f"{name} peak"] = peak
        out[f"{name} tail"] = float(np.mean(np.abs(z[there & (_RADIUS > RING)]) > 5))
        out |= _profile(z, (int(y), int(x)), name=name) if abs(peak) > BRIGHT else dict.fromkeys(
            (f"{name} {key}" for key in ("width", "offset", "wing", "far wing")), np.nan
        )  # fmt: skip
    out["template over science noise"] = noises[1] / noises[0]
    out["difference over science noise"] = noises[2] / noises[0]
    out["difference over science peak"] = out["difference peak"] / out["science peak"]
    out.pop("difference sky", None)
    out.pop("template sky", None)
    return out


def _profile(z: F64, at: tuple[int, int], *, name: str) -> dict[str, float]:
    """Of a bright target: light at 1–2, 3–4 and 5–7 pixels from its peak over that within one, and how far the peak lies off."""
    y, x = at
    values = np.nan_to_num(z) * np.sign(z[y, x])
    radius = np.hypot(_Y - _Y[y, x], _X - _X[y, x])
    rings = [float(values[(radius >= low) & (radius < high)].mean()) for low, high in ((0, 1.1), (1.1, 2.1), (3, 4), (5, 7))]
    return {
        f"{name} width": rings[1] / rings[0],
        f"{name} offset": float(_RADIUS[y, x]),
        f"{name} wing": rings[2] / rings[0],
        f"{name} far wing": rings[3] / rings[0],
    }
