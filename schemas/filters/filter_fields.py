"""The fields that a filter may name: where each stands in a detection's record, its unit and what it means.

A word's value is a number made of all its bytes (`word_number`), so that words are compared as numbers are; an empty one is null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from operators.features import FEATURES
from schemas.taxonomy import OTHER, SLUGS

Kind = Literal["number", "word", "truth"]
BALANCED, PRIOR = "p_", "prior_"
"""Before a class in a field's name: its balanced and its prior probability."""
_FNV_START, _FNV_PRIME, _WIDTH = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1
WORD_BITS = 53
"""A float64 holds integers of so many bits."""


class Field(NamedTuple):
    """A field."""

    name: str
    path: str
    """In the record (`detection.avsc`); empty: it is made of others."""
    kind: Kind
    unit: str
    meaning: str


# fmt: off
FIELDS: tuple[Field, ...] = (
    Field("survey", "survey", "word", "", "ztf, lsst, tess or frames"),
    Field("object_id", "object_id", "word", "", "the survey's name of the object"),
    Field("band", "band", "word", "", "band of the measurement; null where unknown"),
    Field("class", "decision.class_name", "word", "", "the class that is published; the most probable one where a record has no decision"),
    Field("top_class", "top_class", "word", "", "class of the highest balanced probability"),
    Field("nearest_prototype", "nearest_prototype", "word", "", "class whose prototype lies nearest"),
    Field("programid", "programid", "number", "1", "1: public; ZTF's 2 and 3 are not"),
    Field("ra", "ra", "number", "deg", "right ascension, ICRS"),
    Field("dec", "dec", "number", "deg", "declination, ICRS"),
    Field("gal_lon", "", "number", "deg", "galactic longitude"),
    Field("gal_lat", "", "number", "deg", "galactic latitude"),
    Field("mjd", "mjd", "number", "d", "mid-time of the exposure, MJD TAI"),
    Field("flux", "flux", "number", "uJy", "difference flux, signed"),
    Field("flux_err", "flux_err", "number", "uJy", "1 sigma error of it"),
    Field("n_detections", "n_detections", "number", "1", "detected points of the light curve"),
    Field("first_detection", "first_detection", "number", "d", "first detection, MJD TAI"),
    Field("probability", "decision.prior_probability", "number", "1",
          "of `class`, under the stream's frequencies; balanced where a record has no decision"),
    Field("threshold", "decision.threshold", "number", "1", "probability from which the class's topic takes an alert"),
    Field("published", "decision.published", "truth", "", "whether it is reached"),
    Field("real", "decision.real", "truth", "", "whether the evidence says that a source caused the alert"),
    Field("top_probability", "top_probability", "number", "1", "balanced probability of `top_class`"),
    Field("novelty", "novelty", "number", "1", "how unlike every known class, 0 to 1"),
    Field("energy", "energy", "number", "1", "low where the network has seen such alerts"),
    Field("prototype_distance", "prototype_distance", "number", "1", "cosine distance to the nearest prototype, 0 to 2"),
    Field("real_bogus", "real_bogus", "number", "1", "the survey's own score, 0 bogus to 1 real"),
    Field("rb", "rb", "number", "1", "ZTF's random-forest score"),
    Field("drb", "drb", "number", "1", "ZTF's deep-learning score"),
    Field("star_galaxy", "star_galaxy", "number", "1", "of the nearest source, 0 galaxy to 1 star"),
    Field("solar_system_distance", "solar_system_distance", "number", "arcsec", "to the nearest predicted solar-system object"),
    Field("redshift", "redshift", "number", "1", "of the source or its host"),
    Field("host_separation", "host.separation", "number", "arcsec", "to the host's centre"),
    Field("host_redshift", "host.redshift", "number", "1", "of the host"),
    Field("host_distance", "host.distance", "number", "Mpc", "luminosity distance of the host"),
    Field("host_probability", "host.probability", "number", "1", "that it is the host"),
    Field("period", "period", "number", "d", "best period of the light curve"),
    Field("period_significance", "period_significance", "number", "1", "minus log10 of its false-alarm probability"),
    Field("transit_period", "transit.period", "number", "d", "of a periodic dip"),
    Field("transit_depth", "transit.depth", "number", "1", "relative to the star's flux"),
    Field("transit_duration", "transit.duration", "number", "h", "first to last contact"),
    Field("transit_signal_to_noise", "transit.signal_to_noise", "number", "1", "of all dips together"),
    Field("flare_amplitude", "flare.amplitude", "number", "1", "of a star's flare, relative to its flux"),
    Field("flare_signal_to_noise", "flare.signal_to_noise", "number", "1", "of its maximum"),
    Field("seeing", "frame.seeing", "number", "arcsec", "of the image"),
    Field("depth", "frame.depth", "number", "mag", "5 sigma limiting AB magnitude of the image"),
    Field("exposure_time", "frame.exposure_time", "number", "s", "of the image"),
    Field("airmass", "frame.airmass", "number", "1", "of the image"),
)
# fmt: on
KIND_OF: dict[str, Kind] = {field.name: field.kind for field in FIELDS}


def class_field(slug: str, prefix: str) -> str:
    """The field of a class's probability: `p_sn_ia` of sn-ia."""
    return prefix + slug.replace("-", "_")


def word_number(word: str) -> float:
    """A word as a number: the lowest 53 bits of its bytes' FNV-1a hash; NaN of an empty one."""
    if not word:
        return float("nan")
    value = _FNV_START
    for byte in word.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _WIDTH
    return float(value & ((1 << WORD_BITS) - 1))


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column a field has.

    Parameters
    ----------
    classes : tuple of str
        Those with probabilities, taught ones too.
    """

    classes: tuple[str, ...] = (*SLUGS, OTHER)
    index: dict[str, int] = field(init=False, compare=False, repr=False)
    """Field → column."""

    def __post_init__(self) -> None:
        names = [f.name for f in FIELDS] + list(FEATURES)
        for slug in self.classes:
            names += [class_field(slug, BALANCED), class_field(slug, PRIOR)]
        object.__setattr__(self, "index", {name: i for i, name in enumerate(names)})

    @property
    def first_feature(self) -> int:
        """Column of the first named feature."""
        return len(FIELDS)

    @property
    def first_class(self) -> int:
        """Column of the first class's balanced probability; its prior one follows, then the next class's."""
        return len(FIELDS) + len(FEATURES)

    def __len__(self) -> int:
        return len(self.index)


STANDARD = Columns()
"""Of the classes that ship."""


def columns_for(classes: Iterable[str]) -> Columns:
    """The columns with further classes."""
    new = sorted(set(classes) - set(STANDARD.classes))
    return Columns((*STANDARD.classes, *new)) if new else STANDARD
