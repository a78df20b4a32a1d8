"""A scored alert: `detection.avsc` as a dataclass, its bytes, and back. The embedding travels beside it (`embedding.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, NamedTuple

from schemas.avro.writer import varint
from schemas.records.parts import (
    FLOAT,
    NULL,
    PLACE_AND_TIME,
    TWO_FLOATS,
    WORD,
    ClassProbability,
    Feature,
    array,
    check_texts,
    field_writer,
    framing,
    optional,
    optional_double,
    optional_word,
    plain,
    string,
)
from schemas.records.table import BY_ID, DETECTION


class Decision(NamedTuple):
    """The one class that is shown first; see `detection.avsc`, as for all below."""

    class_name: str
    prior_probability: float
    threshold: float | None = None
    budget: float | None = None


class TaughtClass(NamedTuple):
    """A class taught beside the model's own."""

    name: str
    revision: int
    examples: int


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


NAMES = tuple(f.name for f in fields(Detection) if f.name != "embedding")
"""Fields of the record, in the schema's order."""
PREFIX = framing(DETECTION)
_SEQUENCES: dict[str, Any] = {"classes": ClassProbability, "features": Feature, "taught": TaughtClass}
_PARTS: dict[str, Any] = {"decision": Decision, "host": Host, "transit": Transit, "flare": Flare, "frame": Frame}
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


def classes_coded(classes: tuple[ClassProbability, ...]) -> bytes:
    """Code the classes of a detection, which its embedding carries too."""
    word = WORD
    return array([word[name] + TWO_FLOATS(balanced, prior) for name, balanced, prior in classes])


def features_coded(features: tuple[Feature, ...]) -> bytes:
    """Code the features, which its embedding carries too."""
    word = WORD
    return array([word[name] + FLOAT(value) for name, value in features])


def body(d: Detection, classes: bytes, features: bytes) -> bytes:
    """The record written by hand, in the order of `detection.avsc`: a third of the time a general writer takes."""
    word = WORD
    return b"".join(
        (
            string(d.packet_id), string(d.detection_id), word[d.survey], varint(d.candid), string(d.object_id), varint(d.programid),
            PLACE_AND_TIME(d.ra, d.dec, d.mjd), word[d.band], optional(d.flux), optional(d.flux_err), varint(d.n_detections),
            optional_double(d.first_detection), NULL if d.decision is None else _decision(d.decision), classes,
            word[d.top_class], FLOAT(d.top_probability), array([word[name] for name in d.conformal_set]), FLOAT(d.novelty),
            optional(d.energy), word[d.nearest_prototype], FLOAT(d.prototype_distance), _field("taught")(d.taught) if d.taught else NULL,
            optional(d.real_bogus), optional(d.rb), optional(d.drb), optional(d.star_galaxy), optional(d.solar_system_distance),
            NULL if d.solar_system_name is None else b"\x02" + string(d.solar_system_name),
            NULL if d.host is None else _field("host")(d.host), _field("crossmatches")(d.crossmatches) if d.crossmatches else NULL,
            optional(d.redshift), optional_double(d.period), optional(d.period_significance),
            NULL if d.transit is None else _field("transit")(d.transit), NULL if d.flare is None else _field("flare")(d.flare),
            NULL if d.frame is None else _field("frame")(d.frame), features, word[d.model], word[d.engine], word[d.scoring_id],
            optional_word(d.encoder_id), optional_word(d.head_id), optional_word(d.reference_id), word[d.taxonomy],
        )
    )  # fmt: skip


def _decision(decision: Decision) -> bytes:
    """Every detection has one: by hand."""
    name, probability, threshold, budget = decision
    return b"\x02" + WORD[name] + FLOAT(probability) + optional(threshold) + optional(budget)
