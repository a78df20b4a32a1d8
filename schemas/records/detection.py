"""A scored alert: `detection.avsc` as a dataclass, its bytes, and back. The embedding travels beside it (`embedding.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

from schemas.avro.writer import varint
from schemas.records.parts import (
    COUNT,
    DOUBLE,
    FLOAT,
    NULL,
    PLACE_AND_TIME,
    TWO_FLOATS,
    WORD,
    ClassProbability,
    Feature,
    TaughtClass,
    array,
    check_texts,
    field_writer,
    framing,
    optional,
    plain,
    string,
)
from schemas.records.table import BY_ID, DETECTION


class Decision(NamedTuple):
    """The one class that is published; see `detection.avsc`, as for all below."""

    class_name: str
    prior_probability: float
    threshold: float | None = None
    budget: float | None = None
    published: bool = False
    real: bool | None = None
    evidence: str | None = None


class Host(NamedTuple):
    """The galaxy an alert lies in."""

    catalogue: str
    name: str
    separation: float
    redshift: float | None = None
    redshift_err: float | None = None
    spectroscopic: bool | None = None
    distance: float | None = None
    probability: float | None = None


class Magnitude(NamedTuple):
    """A brightness in a catalogue."""

    band: str
    magnitude: float


class Crossmatch(NamedTuple):
    """A catalogue source near an alert."""

    catalogue: str
    name: str
    separation: float
    kind: str | None = None
    redshift: float | None = None
    parallax: float | None = None
    proper_motion: float | None = None
    magnitudes: tuple[Magnitude, ...] = ()


class Transit(NamedTuple):
    """A periodic dip."""

    period: float | None
    epoch: float
    depth: float
    duration: float
    signal_to_noise: float
    n_transits: int | None = None
    odd_even: float | None = None
    secondary_depth: float | None = None
    density_ratio: float | None = None
    centroid_shift: float | None = None


class Flare(NamedTuple):
    """A star's flare."""

    peak: float
    amplitude: float
    duration: float
    signal_to_noise: float


class Frame(NamedTuple):
    """Quality of an image."""

    exposure: str | None = None
    detector: str | None = None
    exposure_time: float | None = None
    seeing: float | None = None
    zero_point: float | None = None
    zero_point_residual: float | None = None
    depth: float | None = None
    sky: float | None = None
    noise: float | None = None
    airmass: float | None = None
    saturated: float | None = None
    cosmic_rays: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One scored alert; every field's unit and meaning stand in `detection.avsc`, in the same order."""

    packet_id: str = ""
    detection_id: str
    survey: str
    candid: int
    object_id: str
    programid: int
    ra: float
    dec: float
    mjd: float
    band: str
    flux: float | None
    flux_err: float | None
    n_detections: int
    first_detection: float | None = None
    decision: Decision | None = None
    classes: tuple[ClassProbability, ...]
    top_class: str
    top_probability: float
    conformal_set: tuple[str, ...]
    novelty: float
    energy: float | None = None
    nearest_prototype: str
    prototype_distance: float
    taught: tuple[TaughtClass, ...] = ()
    real_bogus: float | None
    rb: float | None = None
    drb: float | None = None
    star_galaxy: float | None
    solar_system_distance: float | None
    solar_system_name: str | None = None
    host: Host | None = None
    crossmatches: tuple[Crossmatch, ...] = ()
    redshift: float | None = None
    period: float | None = None
    period_significance: float | None = None
    transit: Transit | None = None
    flare: Flare | None = None
    frame: Frame | None = None
    features: tuple[Feature, ...]
    model: str
    engine: str
    scoring_id: str
    encoder_id: str | None = None
    head_id: str | None = None
    reference_id: str | None = None
    taxonomy: str
    embedding: bytes = field(default=b"", compare=False, repr=False)
    """float16, little-endian. Not in `detection.avsc`: it travels in an `Embedding` of its own."""
    monitored: bytes = field(default=b"", compare=False, repr=False)
    """What the worker's telemetry sums up (`pipeline.monitored`). In no record."""

    @property
    def shown_class(self) -> tuple[str, float]:
        """The class that people are shown, and its probability: the decision's, else the most probable at balanced classes."""
        if self.decision is not None:
            return self.decision.class_name, self.decision.prior_probability
        return self.top_class, self.top_probability


NAMES = tuple(f.name for f in fields(Detection) if f.name not in ("embedding", "monitored"))
"""Fields of the record, in the schema's order."""
PREFIX = framing(DETECTION)
_SEQUENCES: dict[str, Any] = {"classes": ClassProbability, "features": Feature, "taught": TaughtClass}
_PARTS: dict[str, Any] = {"decision": Decision, "host": Host, "transit": Transit, "flare": Flare, "frame": Frame}
_TRUTH = (b"\x00", b"\x01")
_field = partial(field_writer, BY_ID[DETECTION].schema_text)


def to_row(detection: Detection) -> dict[str, Any]:
    """A detection as plain Python (lists of dictionaries inside): for pyarrow, JSON, fastavro."""
    row: dict[str, Any] = {name: getattr(detection, name) for name in NAMES}
    row["classes"] = [{"name": c.name, "probability": c.probability, "prior_probability": c.prior_probability} for c in detection.classes]
    row["features"] = [{"name": f.name, "value": f.value} for f in detection.features]
    row["conformal_set"] = list(detection.conformal_set)
    for name in ("crossmatches", "taught", *_PARTS):
        if row[name] is not None:
            row[name] = plain(row[name])
    return row


def from_row(row: Mapping[str, Any]) -> Detection:
    """The inverse of `to_row`.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no detection of ours has.
    """
    values = dict(row)
    check_texts(values, "packet_id", "detection_id", "survey", "object_id", "band", "top_class", "scoring_id")
    for name, kind in _SEQUENCES.items():
        values[name] = tuple(kind(**entry) for entry in values[name])
    for name, kind in _PARTS.items():
        values[name] = None if values[name] is None else kind(**values[name])
    values["crossmatches"] = tuple(
        Crossmatch(**{**entry, "magnitudes": tuple(Magnitude(**m) for m in entry["magnitudes"])}) for entry in values["crossmatches"]
    )
    values["conformal_set"] = tuple(values["conformal_set"])
    return Detection(**values)


class Coded(NamedTuple):
    """What a detection and its embedding both hold, coded once."""

    packet_id: bytes
    alert: bytes
    """survey to mjd."""
    classes: bytes
    features: bytes


def coded(d: Detection) -> Coded:
    """The fields of a detection that its embedding holds too."""
    word, pack_two, pack = WORD, TWO_FLOATS, FLOAT
    alert = (
        word[d.survey], varint(d.candid), string(d.object_id), COUNT[d.programid] if 0 <= d.programid < 1024 else varint(d.programid),
        PLACE_AND_TIME(d.ra, d.dec, d.mjd),
    )  # fmt: skip
    classes = array([word[name] + pack_two(balanced, prior) for name, balanced, prior in d.classes])
    features = array([word[name] + pack(value) for name, value in d.features])
    return Coded(string(d.packet_id), b"".join(alert), classes, features)


def body(d: Detection, part: Coded) -> bytes:
    """The record written by hand, in the order of `detection.avsc`: a third of the time a general writer takes."""
    word, pack, n = WORD, FLOAT, d.n_detections
    # What is null in most records is so without a call.
    return b"".join(
        (
            part.packet_id, string(d.detection_id), part.alert, word[d.band],
            NULL if d.flux is None else b"\x02" + pack(d.flux), NULL if d.flux_err is None else b"\x02" + pack(d.flux_err),
            COUNT[n] if 0 <= n < 1024 else varint(n), NULL if d.first_detection is None else b"\x02" + DOUBLE(d.first_detection),
            NULL if d.decision is None else _decision(d.decision), part.classes,
            word[d.top_class], pack(d.top_probability), array([word[name] for name in d.conformal_set]), pack(d.novelty),
            NULL if d.energy is None else b"\x02" + pack(d.energy), word[d.nearest_prototype], pack(d.prototype_distance),
            _taught(d.taught) if d.taught else NULL,
            NULL if d.real_bogus is None else b"\x02" + pack(d.real_bogus), NULL if d.rb is None else b"\x02" + pack(d.rb),
            NULL if d.drb is None else b"\x02" + pack(d.drb), NULL if d.star_galaxy is None else b"\x02" + pack(d.star_galaxy),
            NULL if d.solar_system_distance is None else b"\x02" + pack(d.solar_system_distance),
            NULL if d.solar_system_name is None else b"\x02" + string(d.solar_system_name),
            NULL if d.host is None else _host(d.host), array(list(map(_crossmatch, d.crossmatches))) if d.crossmatches else NULL,
            NULL if d.redshift is None else b"\x02" + pack(d.redshift), NULL if d.period is None else b"\x02" + DOUBLE(d.period),
            NULL if d.period_significance is None else b"\x02" + pack(d.period_significance),
            NULL if d.transit is None else _field("transit")(d.transit), NULL if d.flare is None else _field("flare")(d.flare),
            NULL if d.frame is None else _field("frame")(d.frame), part.features, word[d.model], word[d.engine], word[d.scoring_id],
            NULL if d.encoder_id is None else b"\x02" + word[d.encoder_id], NULL if d.head_id is None else b"\x02" + word[d.head_id],
            NULL if d.reference_id is None else b"\x02" + word[d.reference_id], word[d.taxonomy],
        )
    )  # fmt: skip


_last_taught: list[tuple[tuple[TaughtClass, ...], bytes]] = [((), NULL)]


def _taught(classes: tuple[TaughtClass, ...]) -> bytes:
    """The same tuple in every detection of a state, hence coded once: fifty classes would cost as much as all the rest."""
    known, out = _last_taught[0]
    if known is not classes:
        out = array([WORD[name] + varint(revision) + varint(examples) for name, revision, examples in classes])
        _last_taught[0] = classes, out
    return out


def _decision(decision: Decision) -> bytes:
    """Every detection has one: by hand."""
    name, probability, threshold, budget, published, real, evidence = decision
    return b"".join(
        (
            b"\x02", WORD[name], FLOAT(probability), optional(threshold), optional(budget), _TRUTH[published],
            NULL if real is None else b"\x02" + _TRUTH[real], NULL if evidence is None else b"\x02" + WORD[evidence],
        )
    )  # fmt: skip


def _host(host: Host) -> bytes:
    """Where there are catalogues most detections of supernovae have one: by hand."""
    catalogue, name, separation, redshift, redshift_err, spectroscopic, distance, probability = host
    return b"".join(
        (
            b"\x02", WORD[catalogue], string(name), FLOAT(separation), optional(redshift), optional(redshift_err),
            NULL if spectroscopic is None else b"\x02" + _TRUTH[spectroscopic], optional(distance), optional(probability),
        )
    )  # fmt: skip


def _crossmatch(match: Crossmatch) -> bytes:
    """A fifth of a general writer's time."""
    catalogue, name, separation, kind, redshift, parallax, proper_motion, magnitudes = match
    return b"".join(
        (
            WORD[catalogue], string(name), FLOAT(separation), NULL if kind is None else b"\x02" + WORD[kind], optional(redshift),
            optional(parallax), optional(proper_motion),
            array([WORD[band] + FLOAT(magnitude) for band, magnitude in magnitudes]) if magnitudes else NULL,
        )
    )  # fmt: skip
