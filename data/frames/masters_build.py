"""Raw bias, dark and flat frames → masters: each group of detector, binning, filter and temperature combined with clipping.

in → files of raw frames
out → `Report`: the masters that were written, and every frame that was left out, with why

Bias first, then darks with it taken out, then flats with both; each frame goes the way that a science frame goes
(`operators.images.calibrate`), its gain taken as 1. Frames wait in a file of the disk until they are combined, a strip of rows at a time.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from data.frames.fits_image import read_frame
from data.frames.fits_units import bytes_of, digest_of
from data.frames.frame_error import FrameError
from data.frames.master_file import MasterFile, MasterKind, MasterLabel, check_values
from data.frames.masters_folder import SAME_TEMPERATURE, MastersFolder
from operators.images.calibrate import calibrated_planes
from operators.images.combine import combine
from operators.images.planes import BAD, NO_DATA, SATURATED, FrameKind, Masters, RawFrame
from operators.types import F32

LEAST_FRAMES = 3
"""Of a master: of two frames nothing says which one a cosmic ray struck."""
CLIP = 3.0
"""[sigma]"""
MOST_SATURATED = 0.02
"""Share of a flat's pixels."""
FAINTEST_FLAT = 500.0
"""[ADU] below which a flat is read noise rather than light."""
FAR = 8.0
"""[sigma of the medians, by their median deviation] by which a frame's level is an outlier."""
LEAST_SPREAD = {"bias": 2.0, "dark": 0.05, "flat": 0.0}
"""Of the levels of a group: what they may differ by in any case [ADU, ADU/s]."""
MOST_LEFT_OUT = 0.05
"""Share of a frame's pixels that clipping may leave out; a frame beyond it is left out whole."""
HOT = 50.0
"""[sigma] above the median dark current, from which a pixel is bad."""
DEAD = 0.3
"""Of the flat's median: below it a pixel is bad."""
STRIP = 1 << 23
"""Pixels of all frames that are combined at a time."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Written:
    """A master that was made."""

    path: Path
    label: MasterLabel
    left_out: float
    """Share of its frames' pixels that clipping left out."""


@dataclass(slots=True)
class Report:
    """What came of a build."""

    written: list[Written] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """File → why it was not used."""
    notes: list[str] = field(default_factory=list)
    """What is missing or odd and cost no frame."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A frame of a group: what its header says, and where it lies."""

    path: Path
    name: str
    raw: RawFrame
    """Without its pixels."""
    digest: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What frames must have in common to be combined or to calibrate each other."""

    detector: str
    binning: tuple[int, int]
    shape: tuple[int, int]
    overscan: bool
    gain: float

    @classmethod
    def of(cls, raw: RawFrame) -> Setup:
        """The setup of a frame."""
        y0, y1, x0, x1 = raw.readout.trim
        gain = raw.readout.gain
        return cls(
            raw.detector, raw.binning, (y1 - y0, x1 - x0), raw.readout.overscan is not None, round(gain, 3) if math.isfinite(gain) else -1.0
        )

    def __str__(self) -> str:
        return f"{self.detector}, binning {self.binning[1]}x{self.binning[0]}, {self.shape[1]} x {self.shape[0]} pixels"


def build_masters(
    files: Sequence[Path],
    to: MastersFolder,
    *,
    detector: str | None = None,
    valid_from: float | None = None,
    valid_to: float = math.inf,
    without_dark: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Combine raw calibration frames into masters.

    Parameters
    ----------
    files : sequence of Path
    to : MastersFolder
        Where they are written; masters that lie there serve too: a bias for new flats.
    detector : str, optional
        Frames of others are left out.
    valid_from, valid_to : float
        [MJD TAI] for which they hold; default: from the noon (UTC) before the first frame of each, without an end.
    without_dark : bool
        Where there are no darks a master of no dark current is made.
    progress : callable, optional
        Called with what is done, how far, of how much.
    """
    report = Report()
    show = progress or (lambda what, done, total: None)
    groups: dict[tuple[Setup, str, str], list[_Source]] = defaultdict(list)
    for k, path in enumerate(files):
        source = _read(path, report, detector=detector)
        if source is not None:
            groups[Setup.of(source.raw), source.raw.kind, source.raw.filter].append(source)
        show("reading", k + 1, len(files))
    validity = (valid_from, valid_to)
    for setup in sorted({key[0] for key in groups}, key=str):
        of = {(kind, band): found for (s, kind, band), found in groups.items() if s == setup}
        _Bench(setup, to, report, validity, show).build(of, without_dark=without_dark)
    return report


def _read(path: Path, report: Report, *, detector: str | None) -> _Source | None:
    """A frame's header, where it can be used."""
    try:
        data = bytes_of(path)
        raw = read_frame(data, origin=path.name)
    except FrameError as error:
        report.left_out[str(path)] = f"{error.reason}: {error}"
        return None
    if raw.kind == "science":
        report.left_out[str(path)] = "a science frame"
    elif detector is not None and raw.detector != detector:
        report.left_out[str(path)] = f"wrong detector: of {raw.detector}, not {detector}"
    else:
        return _Source(path, raw.frame_id, replace(raw, data=np.empty((0, 0), np.float32)), digest_of(data))
    return None


@dataclass(slots=True)
class _Bench:
    """The masters of one setup as they are made."""

    setup: Setup
    to: MastersFolder
    report: Report
    validity: tuple[float | None, float]
    show: Progress
    bias: F32 | None = None
    dark: F32 | None = None

    def build(self, of: dict[tuple[str, str], list[_Source]], *, without_dark: bool) -> None:
        """Bias, darks, flats, bad pixels."""
        zero = np.zeros(self.setup.shape, np.float32)
        flats = {band: found for (kind, band), found in of.items() if kind == "flat"}
        if ("bias", "") in of:
            self.bias = self._master("bias", of["bias", ""], bias=zero, dark=zero)
        self.bias = self._there("bias") if self.bias is None else self.bias
        darks = of.get(("dark", ""), [])
        if self.bias is None:
            for source in [*darks, *(s for found in flats.values() for s in found)]:
                self.report.left_out[str(source.path)] = f"no bias of {self.setup}"
            return
        for group in _by_temperature(darks):
            found = self._master("dark", group, bias=self.bias, dark=zero)
            self.dark = found if found is not None else self.dark
        self.dark = self._there("dark") if self.dark is None else self.dark
        if self.dark is None and without_dark:
            self.dark = zero
            label = self._label("dark", [s for found in of.values() for s in found], exposure=math.nan, temperature=math.nan)
            self._write(MasterFile(replace(label, n_frames=0), zero), [], left_out=0.0)
        elif self.dark is None:
            self.report.notes.append(f"no darks of {self.setup}: --without-dark makes a master of no dark current")
        unlit = [
            self._master("flat", found, bias=self.bias, dark=zero if self.dark is None else self.dark) for _, found in sorted(flats.items())
        ]
        self._bad([flat for flat in unlit if flat is not None], [s for found in of.values() for s in found])

    def _there(self, kind: MasterKind) -> F32 | None:
        """A master of the setup that lies in the folder from before."""
        for entry in reversed(self.to.entries()):
            label = entry.label
            same = (label.kind, label.detector, label.binning) == (kind, self.setup.detector, self.setup.binning)
            if same and (kind != "bias" or label.overscan == self.setup.overscan):
                image = self.to.load(entry).image
                if image.shape == self.setup.shape:
                    return np.asarray(image, np.float32)
        return None

    def _master(self, kind: Literal["bias", "dark", "flat"], sources: Sequence[_Source], *, bias: F32, dark: F32) -> F32 | None:
        """A master of frames, written; None: too few can be used."""
        with _stack(len(sources), self.setup.shape) as planes:
            levels: list[float] = []
            used: list[_Source] = []
            for source in sources:
                plane, why = self._plane(kind, source, bias=bias, dark=dark)
                self.show(f"{kind} {source.raw.filter}".strip(), len(used) + 1, len(sources))
                if plane is None:
                    self.report.left_out[str(source.path)] = why
                    continue
                planes[len(used)] = plane
                levels.append(float(np.nanmedian(plane)))
                used.append(source)
            kept = self._alike(kind, used, levels=np.array(levels))
            for _ in range(2):  # once more without frames that clipping left out
                if len(kept) < LEAST_FRAMES:
                    for k in kept:
                        self.report.left_out[str(used[k].path)] = f"too few frames: {len(kept)} {kind}s, {LEAST_FRAMES} are needed"
                    return None
                mean, variance, left = _combined(planes, kept, kind=kind, scales=levels if kind == "flat" else None)
                far = [k for k, n in zip(kept, left, strict=True) if n / mean.size > MOST_LEFT_OUT]
                if not far or len(far) > len(kept) // 2:
                    break
                for k, n in zip(kept, left, strict=True):
                    if k in far:
                        self.report.left_out[str(used[k].path)] = f"outlier: {n / mean.size:.1%} of its pixels are unlike the others'"
                kept = [k for k in kept if k not in far]
        of = [used[k] for k in kept]
        if kind == "flat":
            middle = np.float32(np.nanmedian(mean))
            mean, variance = mean / middle, variance / middle**2
        label = self._label(kind, of, exposure=float(np.median([s.raw.exposure for s in of])), temperature=_temperature(of))
        try:
            check_values(mean, label)
        except FrameError as error:
            self.report.notes.append(f"not written: {error}")
            return None
        self._write(MasterFile(label, mean, variance), of, left_out=float(np.sum(left)) / (mean.size * max(len(of), 1)))
        return mean

    def _plane(self, kind: MasterKind, source: _Source, *, bias: F32, dark: F32) -> tuple[F32 | None, str]:
        """A frame's pixels, calibrated as far as its kind needs, NaN where they cannot be used; or why it cannot be."""
        try:
            raw = read_frame(source.path)
        except FrameError as error:
            return None, f"{error.reason}: {error}"
        readout = replace(raw.readout, gain=1.0, read_noise=0.0)
        ones, clear = np.ones(self.setup.shape, np.float32), np.zeros(self.setup.shape, np.uint8)
        made = calibrated_planes(replace(raw, readout=readout), Masters(bias, dark, ones, clear))
        plane, mask = np.asarray(made.science, np.float32), np.asarray(made.mask)
        lost = (mask & (SATURATED | NO_DATA)) != 0
        plane = np.where(lost, np.float32(np.nan), plane)
        share = float(lost.mean())
        if share > MOST_SATURATED:
            return None, f"{share:.1%} of its pixels are saturated or have no value"
        if kind == "dark":
            plane /= np.float32(raw.exposure)
        if kind == "flat" and not float(np.nanmedian(plane)) > FAINTEST_FLAT:
            return None, f"too faint: {float(np.nanmedian(plane)):.0f} ADU of light, a flat has {FAINTEST_FLAT:.0f} at least"
        return plane, ""

    def _alike(self, kind: MasterKind, used: Sequence[_Source], *, levels: npt.NDArray[np.float64]) -> list[int]:
        """Which frames have a level like the others'; a flat's may be any, it is divided out."""
        if kind == "flat" or not len(levels):
            return list(range(len(levels)))
        middle = float(np.median(levels))
        spread = max(1.4826 * float(np.median(np.abs(levels - middle))), LEAST_SPREAD[kind] / FAR)
        kept = []
        for k, level in enumerate(levels):
            if abs(level - middle) <= FAR * spread:
                kept.append(k)
            else:
                unit = "ADU/s" if kind == "dark" else "ADU"
                self.report.left_out[str(used[k].path)] = f"outlier: its median is {level:.4g} {unit}, the others' {middle:.4g}"
        return kept

    def _label(self, kind: MasterKind, of: Sequence[_Source], *, exposure: float, temperature: float) -> MasterLabel:
        start, end = self.validity
        if start is None:
            start = math.floor(min(s.raw.mjd for s in of) - 0.5) + 0.5  # the noon before the first frame's night
        band = of[0].raw.filter if kind == "flat" else ""
        return MasterLabel(
            kind, self.setup.detector, band, self.setup.binning, self.setup.shape, self.setup.overscan,
            gain=self.setup.gain if self.setup.gain > 0 else math.nan, temperature=temperature,
            exposure=exposure if kind == "dark" else math.nan, valid_from=start, valid_to=end, n_frames=len(of),
        )  # fmt: skip

    def _write(self, master: MasterFile, of: Sequence[_Source], *, left_out: float) -> None:
        history = [f"mean of {len(of)} frames, clipped at {CLIP:g} sigma: {left_out:.3%} of the values left out"]
        path, label = self.to.put(master, sources=[f"{s.name} {s.digest}" for s in of], history=history)
        self.report.written.append(Written(path, label, left_out))

    def _bad(self, flats: Sequence[F32], of: Sequence[_Source]) -> None:
        """A mask of hot and dead pixels."""
        bad = np.zeros(self.setup.shape, np.bool_)
        if self.dark is not None and self.dark.any():
            middle = float(np.nanmedian(self.dark))
            spread = 1.4826 * float(np.nanmedian(np.abs(self.dark - middle)))
            with np.errstate(invalid="ignore"):
                bad |= ~(self.dark <= middle + HOT * max(spread, 1e-6))
        for flat in flats:
            with np.errstate(invalid="ignore"):
                bad |= ~(flat >= DEAD)
        if not flats and self.dark is None:
            return
        label = self._label("bad", of, exposure=math.nan, temperature=math.nan)
        try:
            check_values(bad, label)
        except FrameError as error:
            self.report.notes.append(f"not written: {error}")
            return
        self._write(MasterFile(label, bad.astype(np.uint8) * np.uint8(BAD)), [], left_out=0.0)


@contextmanager
def _stack(n: int, shape: tuple[int, int]) -> Iterator[npt.NDArray[np.float32]]:
    """Room for frames on the disk."""
    with tempfile.TemporaryFile() as file:
        file.truncate(max(n, 1) * shape[0] * shape[1] * 4)
        planes: Any = np.memmap(file, np.float32, "r+", shape=(max(n, 1), *shape))
        yield planes
        del planes


def _combined(
    planes: npt.NDArray[np.float32], kept: Sequence[int], *, kind: FrameKind, scales: Sequence[float] | None
) -> tuple[F32, F32, npt.NDArray[np.int64]]:
    """The clipped mean of frames, its variance and how many pixels of each were left out; flats on the scale of their light."""
    h, w = planes.shape[1:]
    mean, variance = np.empty((h, w), np.float32), np.empty((h, w), np.float32)
    left = np.zeros(len(kept), np.int64)
    step = max(STRIP // (w * len(kept)), 1)
    for y in range(0, h, step):
        rows = slice(y, min(y + step, h))
        strips: list[Any] = [np.array(planes[k, rows]) / np.float32(1 if scales is None else scales[k]) for k in kept]
        values, var, n = combine(strips, kind=kind, clip=CLIP)
        mean[rows], variance[rows] = np.asarray(values), np.asarray(var)
        left += np.asarray(n, np.int64)
    return mean, variance, left


def _temperature(of: Sequence[_Source]) -> float:
    there = [s.raw.temperature for s in of if math.isfinite(s.raw.temperature)]
    return float(np.median(there)) if there else math.nan


def _by_temperature(darks: Sequence[_Source]) -> list[list[_Source]]:
    """Groups of one exposure time and temperature."""
    groups: list[list[_Source]] = []
    known = sorted(darks, key=lambda s: (s.raw.exposure, math.isnan(s.raw.temperature), s.raw.temperature))
    for source in known:
        first = groups[-1][0].raw if groups else None
        same = first is not None and first.exposure == source.raw.exposure
        if (
            same
            and first is not None
            and not abs(first.temperature - source.raw.temperature) > SAME_TEMPERATURE
            and (math.isnan(first.temperature) == math.isnan(source.raw.temperature))
        ):
            groups[-1].append(source)
        else:
            groups.append([source])
    return groups
