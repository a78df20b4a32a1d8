"""Which masters calibrate a frame: chosen by detector, filter, binning, night and temperature.

in → a folder of master files (`master_file.py`), and records of them on `calibration.masters`
out → `Masters`, and flags for what does not fit as it should; a `FrameError` that says which master is missing
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np

from data.connectors.fits_headers import FitsError, read_header
from data.frames.claims import open_claim
from data.frames.fits_units import bytes_of, digest_of
from data.frames.frame_error import FrameError
from data.frames.master_file import MasterFile, MasterKind, MasterLabel, decode_master, encode_master, label_of
from data.whole_file import write_whole
from errors import UserError, one_line
from operators.images.combine import masters_of
from operators.images.planes import Masters
from schemas.records.master_frame import MasterFrame

SAME_TEMPERATURE = 1.0
"""[deg C] up to which a dark is of a frame's temperature."""
FARTHEST_TEMPERATURE = 10.0
"""[deg C] beyond which a dark says nothing of a frame: every 6 or so make it twice as much."""
SAME_GAIN = 0.02
"""Relative; beyond it a master is of another readout mode."""
MOST_SCALED = 5.0
"""An exposure so many times as long as its dark's is flagged: the dark's noise is scaled too."""
KEPT_BYTES = 128 * 2**20
"""Of sets of masters that are kept ready, and one at least: 52 MB each for 2,048 x 2,048 pixels."""
_EPOCH = date(1858, 11, 17).toordinal()
_DIGITS = 16
"""Of the digest, in a file's name."""


@dataclass(frozen=True, slots=True)
class MasterEntry:
    """A master that is known, not yet read."""

    label: MasterLabel
    uri: str
    """A path, or a claim's address."""
    length: int = -1
    """[bytes]; -1: a file of the folder."""
    made: int = 0
    """When it was announced [ms since 1970]: among equals the newest counts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a frame needs."""

    detector: str
    filter: str
    binning: tuple[int, int]
    mjd: float
    temperature: float = math.nan
    exposure: float = 0.0
    gain: float = math.nan
    shape: tuple[int, int] | None = None
    """(h, w) of the trimmed image."""
    overscan: bool | None = None


def night_of(mjd: float) -> str:
    """The date of the evening a moment's night began (UTC, from noon to noon), as 2026-11-30."""
    return date.fromordinal(math.floor(mjd - 0.5) + _EPOCH).isoformat() if math.isfinite(mjd) and 0 < mjd < 1e6 else "unknown"


class MastersFolder:
    """A folder of masters and those that were announced.

    Parameters
    ----------
    path : Path or str, optional
        Folder of master files, read when it is made and by `scan`; None: announced masters only.
    prefixes : sequence of str
        Where announced masters may lie (`claims.open_claim`).
    """

    def __init__(self, path: Path | str | None, *, prefixes: Sequence[str] = ()) -> None:
        self.path = None if path is None else Path(path)
        self.prefixes = tuple(prefixes)
        self.rejects: dict[str, str] = {}
        """Files of the folder that are not masters, and why."""
        self._files: dict[str, MasterEntry] = {}
        self._announced: dict[bytes, MasterEntry] = {}
        self._ready: OrderedDict[tuple[str, ...], Masters] = OrderedDict()
        self.scan()

    def __len__(self) -> int:
        return len(self._files) + len(self._announced)

    def entries(self) -> list[MasterEntry]:
        """All masters that are known, by detector, kind, filter and time."""
        every = [*self._files.values(), *self._announced.values()]
        return sorted(every, key=lambda e: (e.label.detector, e.label.kind, e.label.filter, e.label.valid_from, e.made))

    def scan(self) -> None:
        """Read the labels of the folder's files anew; a file that is not a master is kept in `rejects`."""
        self._files, self.rejects = {}, {}
        if self.path is None or not self.path.is_dir():
            return
        for path in sorted(self.path.glob("*.fits")):
            try:
                self._files[path.name] = MasterEntry(_label_in(path), str(path))
            except FrameError as error:
                self.rejects[path.name] = str(error)

    def add(self, kind: MasterKind, *files: Path) -> list[MasterLabel]:
        """Take master files into the folder, each under its name of what it is of and its digest.

        Raises
        ------
        FrameError
            `bad_master`: one is not a master, or of another kind.
        """
        found = []
        for file in files:
            data = bytes_of(file)
            label = decode_master(data).label
            if label.kind != kind:
                raise FrameError("bad_master", f"{one_line(file.name, 120)} is a master {label.kind}, not {kind}")
            found.append(self._keep(label, [data]))
        return found

    def put(self, master: MasterFile, *, sources: Sequence[str] = (), history: Sequence[str] = ()) -> tuple[Path, MasterLabel]:
        """Write a master into the folder; its path, and its label with the digest."""
        label = self._keep(master.label, encode_master(master, sources=sources, history=history))
        return self.path_of(label), label

    def path_of(self, label: MasterLabel) -> Path:
        """Where the folder keeps a master."""
        assert self.path is not None
        return self.path / file_name(label)

    def _keep(self, label: MasterLabel, parts: Sequence[bytes | memoryview]) -> MasterLabel:
        if self.path is None:
            raise UserError("masters have no folder to be kept in: give one")
        label = replace(label, digest=digest_of(b"".join(parts)))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / file_name(label), *parts)
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror})") from None
        name = file_name(label)
        self._files[name] = MasterEntry(label, str(self.path / name))
        return label

    def take(self, record: MasterFrame) -> None:
        """Know an announced master; of the same key the later one counts."""
        figures = [math.nan if figure is None else figure for figure in (record.gain, record.temperature, record.exposure)]
        label = MasterLabel(
            record.kind, record.detector, record.filter, record.binning, gain=figures[0], temperature=figures[1], exposure=figures[2],  # type: ignore[arg-type]
            valid_from=record.valid_from, valid_to=math.inf if record.valid_to is None else record.valid_to, n_frames=record.n_frames,
            digest=record.sha256, overscan=record.overscan,
        )  # fmt: skip
        self._announced[record.key] = MasterEntry(label, record.uri, record.length, record.made_ms)

    def withdraw(self, key: bytes) -> None:
        """Forget an announced master, whose record was deleted."""
        self._announced.pop(key, None)

    def select(
        self,
        *,
        detector: str,
        filter: str,
        binning: tuple[int, int],
        mjd: float,
        temperature: float = math.nan,
        exposure: float = 0.0,
        gain: float = math.nan,
        shape: tuple[int, int] | None = None,
        overscan: bool | None = None,
    ) -> tuple[Masters, tuple[str, ...]]:
        """The masters of a frame.

        Of the masters that hold at the frame's time the one whose validity began last; of darks the one of the frame's temperature, else
        the nearest, which is flagged.

        Returns
        -------
        masters : Masters
        flags : tuple of str
            `dark_temperature`: the dark is of another; `temperature_unknown`; `dark_exposure`: of a much shorter exposure.

        Raises
        ------
        FrameError
            `no_master`: which kind, detector, filter, night, and what there is instead. `bad_master`. `wrong_shape`.
        RetryableError
            A store does not answer.
        """
        wanted = Wanted(detector, filter, binning, mjd, temperature, exposure, gain, shape, overscan)
        try:
            chosen, masters = self._ready_for(wanted)
        except FileNotFoundError:  # taken out of the folder since it was read
            self.scan()
            chosen, masters = self._ready_for(wanted)
        if shape is not None and tuple(masters.bias.shape) != tuple(shape):
            h, w = masters.bias.shape
            raise FrameError("wrong_shape", f"the image has {shape[1]} x {shape[0]} pixels, the masters of detector {detector} {w} x {h}")
        return masters, _flags(chosen["dark"].label, wanted)

    def _ready_for(self, wanted: Wanted) -> tuple[dict[MasterKind, MasterEntry], Masters]:
        """The masters of a frame, read where they were not before."""
        chosen: dict[MasterKind, MasterEntry] = {}
        for kind in ("bias", "dark", "flat"):
            chosen[kind] = self._choose(kind, wanted)
        bad = self._holding(_of_kind("bad", self.entries()), wanted)
        if bad:
            chosen["bad"] = max(bad, key=_newest)
        names = tuple(entry.label.digest or entry.uri for entry in chosen.values())
        masters = self._ready.get(names)
        if masters is None:
            masters = self._ready[names] = self._read(chosen)
            while len(self._ready) > 1 and sum(map(_size, self._ready.values())) > KEPT_BYTES:
                self._ready.popitem(last=False)
        self._ready.move_to_end(names)
        return chosen, masters

    def _choose(self, kind: MasterKind, wanted: Wanted) -> MasterEntry:
        every = _of_kind(kind, self.entries())
        fitting = self._holding(every, wanted)
        if kind == "dark" and math.isfinite(wanted.temperature):
            near = [e for e in fitting if not abs(e.label.temperature - wanted.temperature) > SAME_TEMPERATURE]
            far = [e for e in fitting if not abs(e.label.temperature - wanted.temperature) > FARTHEST_TEMPERATURE]
            if not near and far:
                least = min(abs(e.label.temperature - wanted.temperature) for e in far)
                near = [e for e in far if abs(e.label.temperature - wanted.temperature) == least]
            if fitting and not near:
                there = ", ".join(sorted({f"{e.label.temperature:g}" for e in fitting}))
                raise _missing(kind, wanted, instead=f"darks are of {there} deg C, the frame of {wanted.temperature:g}")
            fitting = near
        if fitting and kind == "dark":
            return max(fitting, key=partial(_newest_dark, exposure=wanted.exposure))
        if fitting:
            return max(fitting, key=_newest)
        raise _missing(kind, wanted, instead=_instead(every, wanted))

    @staticmethod
    def _holding(entries: Iterable[MasterEntry], wanted: Wanted) -> list[MasterEntry]:
        return [e for e in entries if all(fits(e.label, wanted) for _, fits in _CONDITIONS)]

    def _read(self, chosen: dict[MasterKind, MasterEntry]) -> Masters:
        files = {kind: self.load(entry) for kind, entry in chosen.items()}
        shapes = {kind: file.image.shape for kind, file in files.items()}
        if len(set(shapes.values())) > 1:
            said = ", ".join(f"{kind} {shape[1]} x {shape[0]}" for kind, shape in shapes.items())
            raise FrameError("bad_master", f"the masters of detector {chosen['bias'].label.detector} have different shapes: {said}")
        images = {kind: file.image for kind, file in files.items()}
        made = masters_of(bias=images["bias"], dark=images["dark"], flat=images["flat"], bad=images.get("bad"))
        return replace(made, ids=tuple(file.label.digest for file in files.values()))

    def load(self, entry: MasterEntry) -> MasterFile:
        """A master's values; its bytes are those that were announced, or that its name has the digest of."""
        if entry.length >= 0:
            try:
                data = open_claim(entry.uri, length=entry.length, sha256=entry.label.digest, prefixes=self.prefixes)
            except FrameError as error:
                raise FrameError("bad_master", f"{entry.label}: {error}") from None
            return decode_master(data, planes=False)
        path = Path(entry.uri)
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            found = decode_master(path, planes=False)
        except FrameError as error:
            raise FrameError("bad_master", f"{one_line(path.name, 120)}: {error}") from None
        stated = path.stem.rpartition("_")[2]
        if len(stated) == _DIGITS and not found.label.digest.startswith(stated):
            raise FrameError("bad_master", f"{one_line(path.name, 120)} was changed since it was made: its sha256 is another")
        return found


def file_name(label: MasterLabel) -> str:
    """The name of a master's file: what it is of, and the digest."""
    parts = [label.kind, label.detector, label.filter, f"{label.binning[1]}x{label.binning[0]}", label.digest[:_DIGITS]]
    return "_".join(part for part in parts if part) + ".fits"


def _label_in(path: Path) -> MasterLabel:
    """The label in a file's first header."""
    try:
        with path.open("rb") as file:
            header = read_header(file, first=True)
    except (OSError, FitsError) as error:
        raise FrameError("bad_master", one_line(error, 200)) from None
    assert header is not None
    digest = path.stem.rpartition("_")[2]
    return replace(label_of(header), digest=digest if len(digest) == _DIGITS else "")


def _size(masters: Masters) -> int:
    """Bytes of its planes."""
    return sum(np.asarray(plane).nbytes for plane in (masters.bias, masters.dark, masters.inverse_flat, masters.bad))


def _newest(entry: MasterEntry) -> tuple[float, int, str]:
    return entry.label.valid_from, entry.made, entry.label.digest


def _newest_dark(entry: MasterEntry, *, exposure: float) -> tuple[float, float, int, str]:
    """Of the darks of a night the one whose exposure is the most like the frame's."""
    apart = abs(math.log(entry.label.exposure / exposure)) if entry.label.exposure > 0 and exposure > 0 else math.inf
    return entry.label.valid_from, -apart, entry.made, entry.label.digest


def _of_kind(kind: MasterKind, entries: Iterable[MasterEntry]) -> list[MasterEntry]:
    return [e for e in entries if e.label.kind == kind]


_CONDITIONS: tuple[tuple[str, Callable[[MasterLabel, Wanted], bool]], ...] = (
    ("detector", lambda m, w: m.detector == w.detector),
    ("binning", lambda m, w: m.binning == w.binning),
    ("filter", lambda m, w: m.kind != "flat" or m.filter == w.filter),
    ("gain", lambda m, w: m.kind == "bad" or not abs(m.gain - w.gain) > SAME_GAIN * abs(w.gain)),
    ("overscan", lambda m, w: m.kind != "bias" or w.overscan is None or m.overscan == w.overscan),
    ("night", lambda m, w: m.valid_from <= w.mjd <= m.valid_to),
)
"""What a master must have in common with a frame, in the order in which a lack of it is reported."""


def _instead(entries: Sequence[MasterEntry], wanted: Wanted) -> str:
    """What there is in the place of a missing master: the first condition that none meets."""
    left = list(entries)
    for name, fits in _CONDITIONS:
        fitting = [e for e in left if fits(e.label, wanted)]
        if left and not fitting:
            return f"of another {name}: {', '.join(sorted({_said(name, e.label) for e in left})[:6])}"
        left = fitting
    return "none of that kind"


def _said(name: str, label: MasterLabel) -> str:
    if name == "night":
        end = night_of(label.valid_to) if math.isfinite(label.valid_to) else ""
        return f"{night_of(label.valid_from) if math.isfinite(label.valid_from) else ''} to {end}"
    if name == "binning":
        return f"{label.binning[1]}x{label.binning[0]}"
    if name == "overscan":
        return "with overscan" if label.overscan else "without overscan"
    return f"{getattr(label, name)}"


def _missing(kind: MasterKind, wanted: Wanted, *, instead: str) -> FrameError:
    band = f", filter {wanted.filter}" if kind == "flat" else ""
    binned = f"{wanted.binning[1]}x{wanted.binning[0]}"
    what = f"no master {kind} for detector {wanted.detector}{band}, binning {binned}, night {night_of(wanted.mjd)}"
    return FrameError("no_master", f"{what} ({instead})")


def _flags(dark: MasterLabel, wanted: Wanted) -> tuple[str, ...]:
    flags = []
    if not (math.isfinite(dark.temperature) and math.isfinite(wanted.temperature)):
        flags.append("temperature_unknown")
    elif abs(dark.temperature - wanted.temperature) > SAME_TEMPERATURE:
        flags.append("dark_temperature")
    if wanted.exposure > MOST_SCALED * dark.exposure > 0:
        flags.append("dark_exposure")
    return tuple(flags)
