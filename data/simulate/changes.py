"""ZTF packets as another sky or another instrument would have sent them: bytes → bytes, simulated or real.

    packet ──► zero_point, seeing, cadence, nulls ──► the same alert, measured otherwise
    seed   ──► changed_night ──► a night's packets with a change, and with objects of a class that was never taught

A packet is read by the schema in its own container and written by the same one, so that whatever is not changed stays, in packets of every
version. The same packet gives the same bytes: what is drawn is drawn from the candid.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import fastavro
import numpy as np

from data.simulate.described import Description
from data.simulate.draw import PopulationName, generator
from data.simulate.night import Truth, alert_at, truth
from data.simulate.observe import choose, observe
from data.simulate.survey_packets import packet as packet_of
from operators.types import F32, F64
from schemas.avro.container import Container, make_cutout
from schemas.avro.wire import PacketError, read_body, read_header, sniff
from schemas.surveys import cutouts

Change: TypeAlias = Callable[[bytes], bytes]
Record: TypeAlias = dict[str, Any]

OWN_NIGHT = 0.6
"""Rows of the history no older than this were measured with the alert itself [d]."""
CUTOUTS = ("cutoutScience", "cutoutTemplate", "cutoutDifference")
MAGNITUDES = ("magpsf", "magap", "magapbig", "diffmaglim")
"""Fields of a detection that move with its zero point, as `magzpsci` itself does."""
ERRORS = ("sigmapsf", "sigmagap", "sigmagapbig")
WIDTHS = ("fwhm", "aimage", "bimage")
"""Fields of a detection that scale with its seeing."""
CATALOGUE = ("sgscore1", "distpsnr1", "sgmag1", "srmag1", "simag1", "szmag1")
"""Fields of the nearest catalogued source."""
SHARPEST = 2.0
"""Width of a point source where a packet does not state it [pixels]."""
BRIGHTEST_NOISE = 60.0
"""Most noise of a pixel that is given back to a blurred image [counts]: more is structure."""
EDGE = 6
"""Rows at an image's edge that its noise is measured on."""
NARROWEST = 0.3
"""A narrower Gaussian changes nothing that pixels show [pixels]."""
TRIES = 4096
"""Objects of a new population tried for one that is detected."""
APART = 500_009
"""Added to the seed of a new population's objects, so that none has another object's name."""


def zero_point(packet: bytes, magnitudes: float = 0.1, *, days: float = OWN_NIGHT) -> bytes:
    """Calibrate an alert's night wrongly: flux, errors and limits are fainter, the camera's counts are what they were.

    Parameters
    ----------
    packet : bytes
    magnitudes : float
        By how much the stated zero point, and with it each magnitude, is off [mag].
    days : float
        Rows of the history that old are calibrated so too; infinity: all of them.
    """
    record = read(packet)
    now = record["candidate"]["jd"]
    for row in (record["candidate"], *_rows(record, now - days)):
        for name in (*MAGNITUDES, "magzpsci"):
            _add(row, name, amount=magnitudes)
    return write(record, packet)


def seeing(packet: bytes, worse: float = 1.4, *, depth: float = 0.3) -> bytes:
    """Blur an alert's science and difference image, and measure its night less deeply.

    Parameters
    ----------
    packet : bytes
    worse : float
        Full width at half maximum, as a factor; 1 or more.
    depth : float
        By how much the limit is brighter [mag]; errors grow with it.
    """
    record = read(packet)
    row, now = record["candidate"], record["candidate"]["jd"]
    width = row.get("fwhm") or SHARPEST
    larger = 10 ** (0.4 * depth)
    for other in (row, *_rows(record, now - OWN_NIGHT)):
        for name in (*ERRORS, "forcediffimfluxunc"):
            _scale(other, name, factor=larger)
        _add(other, "diffmaglim", amount=-depth)
        for name in (*WIDTHS, "sciinpseeing"):
            _scale(other, name, factor=worse)
    for name in ("scorr", "dsnrms", "ssnrms"):
        _scale(row, name, factor=1 / larger)
    rng = np.random.default_rng([int(row["candid"]) % (1 << 63), 1])
    for name in (CUTOUTS[0], CUTOUTS[2]):
        cut = record.get(name)
        image = pixels(cut["stampData"]) if cut else None
        if cut and image is not None:
            record[name] = {**cut, "stampData": make_cutout(blurred(image, np.sqrt(worse**2 - 1) * width / 2.3548, rng=rng))}
    return write(record, packet)


def cadence(packet: bytes, keep: float = 0.5) -> bytes:
    """Look at the alert's field less often: whole earlier nights are gone, its own stays.

    Parameters
    ----------
    packet : bytes
    keep : float
        Share of the nights that are still observed.
    """
    record = read(packet)
    row = record["candidate"]
    now, salt = row["jd"], int(row["candid"]) % 1_000_003
    for name in ("prv_candidates", "fp_hists"):
        if record.get(name):
            record[name] = [old for old in record[name] if old["jd"] >= now - OWN_NIGHT or _looked(old["jd"], salt) < keep] or None
    row["ncovhist"] = max(round(row["ncovhist"] * keep), 1)
    row["ndethist"] = max(round(row["ndethist"] * keep), 1)
    return write(record, packet)


def nulls(packet: bytes, fields: Sequence[str] = ("drb",)) -> bytes:
    """Leave fields of the candidate empty, as a new version of a schema does.

    Raises
    ------
    ValueError
        The packet's schema has no such field, or one that must be filled.
    """
    record = read(packet)
    empty = _empty(_schema_text(packet))
    for name in fields:
        if name not in empty:
            raise ValueError(f"candidate.{name} is not a field that this packet's schema lets be null")
        record["candidate"][name] = None
    return write(record, packet)


def no_catalogue(packet: bytes) -> bytes:
    """Leave out the nearest catalogued source."""
    return nulls(packet, CATALOGUE)


CHANGES: Mapping[str, Change] = {
    "zero-point": zero_point, "seeing": seeing, "cadence": cadence, "null-drb": nulls, "null-ps1": no_catalogue,
}  # fmt: skip
"""By name, each at its usual strength."""


def changed_night(
    seed: int,
    rows: range,
    *,
    change: Change | None = None,
    newcomer: Description | None = None,
    share: float = 0.05,
    population: PopulationName = "demo",
    mix: Mapping[str, float] | None = None,
) -> Iterator[tuple[bytes, Truth]]:
    """Packets of a night, in order; none twice, none broken.

    Parameters
    ----------
    seed, population, mix
        Which night, as in `night.night`.
    rows : range
        Which of its alerts: each is a function of (seed, row) alone.
    change : callable, optional
        What becomes of each packet.
    newcomer : Description, optional
        A class that takes a share of the alerts, each with an object of its own.
    share : float
        That share.
    """
    for row in rows:
        if newcomer is not None and generator(population, seed, row, 31).random() < share:
            whole, known = described_alert(newcomer, seed, row=row, population=population)
        else:
            alert = alert_at(seed, row, population=population, mix=mix)
            whole, known = packet_of(alert), truth(alert)
        yield (whole if change is None else change(whole)), known


def described_alert(description: Description, seed: int, *, row: int, population: PopulationName) -> tuple[bytes, Truth]:
    """The packet of one alert of a described class; its label is the description's name.

    Raises
    ------
    RuntimeError
        The survey never sees such objects.
    """
    for attempt in range(TRIES):
        o = observe(seed + APART, row * TRIES + attempt, slug=description.name, population=population, survey="ztf", described=description)
        if o is not None:
            alert = choose(o)
            return packet_of(alert), truth(alert)
    raise RuntimeError(f"no {description.name} was detected in {TRIES} tries")


def read(packet: bytes) -> Record:
    """The record of a ZTF packet.

    Raises
    ------
    schemas.avro.wire.PacketError
        It is not a container with one alert of ZTF's.
    """
    if sniff(packet) != "container":
        raise PacketError("not_avro", "a packet of ZTF's is an Avro object container")
    codec, text, at = read_header(packet)
    data, start, end = read_body(packet, at, codec=codec)
    found = fastavro.schemaless_reader(io.BytesIO(data[start:end]), _container(text).schema, None)
    if not isinstance(found, dict) or not isinstance(found.get("candidate"), dict):
        raise PacketError("unknown_survey", "the packet has no candidate: it is not one of ZTF's")
    return found


def write(record: Record, packet: bytes) -> bytes:
    """A record in the schema of the packet that it was read from, uncompressed."""
    return _container(_schema_text(packet)).encode(record)


def blurred(image: F32, sigma: float, *, rng: np.random.Generator) -> F32:
    """An image through a wider Gaussian; the noise of its pixels, which is the camera's, is what it was.

    Parameters
    ----------
    image : (h, w) float32
        NaN where there is no pixel; it stays so.
    sigma : float
        Of the Gaussian that it is convolved with [pixels].
    rng : numpy.random.Generator
        For the noise.
    """
    if sigma < NARROWEST:
        return image
    hole = ~np.isfinite(image)
    smooth = _through(np.where(hole, 0.0, image), sigma) / np.maximum(_through(np.where(hole, 0.0, 1.0), sigma), 1e-3)
    edge = image[:EDGE][~hole[:EDGE]]
    noise = min(0.5 * float(np.subtract(*np.percentile(edge, [84, 16]))), BRIGHTEST_NOISE) if edge.size else 0.0
    left = min(1 / (2 * np.sqrt(np.pi) * sigma), 1.0)  # of white noise, behind the Gaussian
    smooth = smooth + rng.standard_normal(image.shape) * noise * np.sqrt(1 - left**2)
    return np.asarray(np.where(hole, np.nan, smooth), dtype=np.float32)


def _through(image: F64, sigma: float) -> F64:
    """An image through a Gaussian, light that leaves it lost."""
    height, width = image.shape
    return np.asarray(_gaussian(height, sigma) @ image @ _gaussian(width, sigma))


def _gaussian(size: int, sigma: float) -> F64:
    at = np.arange(size)
    return np.asarray(np.exp(-0.5 * ((at[:, None] - at[None, :]) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma))


def pixels(data: bytes) -> F32 | None:
    """A cut-out's image, of its own size; None: it cannot be read."""
    try:
        plain = zlib.decompressobj(31).decompress(data, cutouts.MAX_IMAGE) if data[:2] == b"\x1f\x8b" else data
    except zlib.error:
        return None
    header = cutouts.read_header(plain)
    if header is None or header.offset + header.width * header.height * header.dtype.itemsize > len(plain):
        return None
    image = np.frombuffer(plain, header.dtype, header.width * header.height, header.offset).reshape(header.height, header.width)
    return np.asarray(image * header.scale + header.zero, dtype=np.float32)


def _rows(record: Record, since: float) -> Iterator[Record]:
    """Rows of the histories from a time on [JD]."""
    for name in ("prv_candidates", "fp_hists"):
        yield from (row for row in record.get(name) or () if row["jd"] >= since)


def _looked(jd: float, salt: int) -> float:
    """A number from 0 to 1 for a night of a field."""
    night = int(np.floor(jd - 0.5))
    return float(generator("demo", night, salt, 32).random())


def _add(row: Record, name: str, *, amount: float) -> None:
    if row.get(name) is not None and row[name] > 0:
        row[name] = row[name] + amount


def _scale(row: Record, name: str, *, factor: float) -> None:
    if row.get(name) is not None and row[name] > 0:
        row[name] = row[name] * factor


def _schema_text(packet: bytes) -> bytes:
    return read_header(packet)[1]


@lru_cache(maxsize=32)
def _container(text: bytes) -> Container:
    return Container(json.loads(text))


@lru_cache(maxsize=32)
def _empty(text: bytes) -> frozenset[str]:
    """Fields of the candidate that may be null."""
    fields = {field["name"]: field["type"] for field in json.loads(text)["fields"]}
    choices = fields["candidate"] if isinstance(fields["candidate"], list) else [fields["candidate"]]
    candidate = next(choice for choice in choices if isinstance(choice, dict))
    return frozenset(f["name"] for f in candidate["fields"] if isinstance(f["type"], list) and "null" in f["type"])
