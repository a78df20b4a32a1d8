"""A class from a physical description: a small YAML of rise, decline, colour, peak and surroundings → a way to draw such objects.

FILE.yaml → `Description`, checked: what is wrong is one line that names the field and its range. `described_source.source` draws objects of
it, as any class of `classes.py` does. Times are rest-frame days, light is that of g (4750 Å, at rest); the other bands follow from the
colour. A number may be fixed (``3``), a range (``[2, 5]``, even, in the logarithm for times and temperatures) or a middle with a spread
(``{median: 3, spread: 0.3}``, in e-folds for times and temperatures, in its own unit otherwise). docs/descriptions.md has the fields.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import pydantic
import yaml

from data.simulate.draw import Draw
from data.simulate.source import SkyKind
from errors import USAGE, UserError

SHIPPED = Path(__file__).parent / "descriptions"
"""The descriptions that come with us."""
LARGEST = 100_000
"""Bytes of a description; a page of text has 3,000."""


class DescriptionError(UserError):
    """The file is not a description that can be used. One line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, USAGE)


@dataclass(frozen=True, slots=True)
class Spread:
    """A number that differs from object to object."""

    low: float
    """Of a range, and of what a middle with a spread may reach."""
    high: float
    median: float
    spread: float | None
    """None: a range (or one number, where `low` is `high`)."""
    logarithmic: bool

    def draw(self, d: Draw, name: str) -> float:
        """One object's number."""
        if self.spread is not None and self.logarithmic:
            return d.lognormal(name, self.median, sigma=self.spread, low=self.low, high=self.high)
        if self.spread is not None:
            return d.normal(name, self.median, sd=self.spread, low=self.low, high=self.high)
        if self.low == self.high:
            return self.low
        return (d.loguniform if self.logarithmic else d.uniform)(name, self.low, high=self.high)


def _number(value: Any, low: float, *, high: float, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a number {unit}, a range [low, high] or {{median, spread}}, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"must be between {low:g} and {high:g} {unit}, not {value:g}")
    return float(value)


def _quantity(low: float, high: float, *, unit: str, logarithmic: bool = False) -> pydantic.BeforeValidator:
    """How to read a number between two limits."""

    def read(value: Any) -> Spread:
        if isinstance(value, Spread):
            return value
        if isinstance(value, list):
            if len(value) != 2:
                raise ValueError(f"a range has two numbers {unit}, not {len(value)}")
            first, last = (_number(v, low, high=high, unit=unit) for v in value)
            if first > last:
                raise ValueError(f"a range begins with its lower end {unit}: [{last:g}, {first:g}]")
            return Spread(first, last, math.sqrt(first * last) if logarithmic else (first + last) / 2, None, logarithmic)
        if isinstance(value, dict):
            if set(value) != {"median", "spread"}:
                raise ValueError("must have the keys median and spread, and no other")
            limit = 2.0 if logarithmic else (high - low) / 2
            spread = _number(value["spread"], 0.0, high=limit, unit="e-folds of spread" if logarithmic else unit)
            return Spread(low, high, _number(value["median"], low, high=high, unit=unit), spread, logarithmic)
        fixed = _number(value, low, high=high, unit=unit)
        return Spread(fixed, fixed, fixed, None, logarithmic)

    return pydantic.BeforeValidator(read)


NOTHING = Spread(0.0, 0.0, 0.0, None, False)
Days: TypeAlias = Annotated[Spread, _quantity(1e-4, 3000.0, unit="d", logarithmic=True)]
Offset: TypeAlias = Annotated[Spread, _quantity(-1000.0, 1000.0, unit="d")]
Kelvin: TypeAlias = Annotated[Spread, _quantity(1000.0, 60000.0, unit="K", logarithmic=True)]
Rate: TypeAlias = Annotated[Spread, _quantity(0.0, 200.0, unit="mag/d")]
Trend: TypeAlias = Annotated[Spread, _quantity(-10.0, 10.0, unit="mag/d")]
Index: TypeAlias = Annotated[Spread, _quantity(0.1, 10.0, unit="(power of time)")]
Shade: TypeAlias = Annotated[Spread, _quantity(-1.5, 4.0, unit="mag")]
Absolute: TypeAlias = Annotated[Spread, _quantity(-28.0, -5.0, unit="mag")]
Amplitude: TypeAlias = Annotated[Spread, _quantity(0.02, 20.0, unit="mag")]
Fall: TypeAlias = Annotated[Spread, _quantity(0.0, 10.0, unit="mag")]
Share: TypeAlias = Annotated[Spread, _quantity(0.0, 10.0, unit="(share of the peak)")]
Fraction: TypeAlias = Annotated[Spread, _quantity(0.02, 0.98, unit="(share of the period)")]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class Plateau(_Part):
    """Light that hardly changes after the peak, and how far it drops where it ends."""

    days: Days
    slope: Trend = NOTHING
    drop: Fall = NOTHING


class Late(_Part):
    """Another pace, some time after the decline began."""

    after: Days
    rate: Rate | None = None
    index: Index | None = None


class Decline(_Part):
    """How the light fades: exactly one of a rate [mag/d], an e-folding time [d] and a power of time."""

    rate: Rate | None = None
    e_folding: Days | None = None
    index: Index | None = None
    scale: Days | None = None
    """Of the power law (1 + t / scale)^-index; the rise where none is given."""
    late: Late | None = None

    @pydantic.model_validator(mode="after")
    def _one(self) -> Self:
        if sum(x is not None for x in (self.rate, self.e_folding, self.index)) != 1:
            raise ValueError("give exactly one of rate [mag/d], e_folding [d] and index")
        if self.scale is not None and self.index is None:
            raise ValueError("scale belongs to a power law: give index")
        if self.late is not None and (self.late.index is None) == (self.index is not None):
            raise ValueError("late takes index where the decline is a power law, else rate [mag/d]")
        if self.late is not None and self.late.index is not None and self.late.rate is not None:
            raise ValueError("late takes one of rate and index")
        return self


class Colour(_Part):
    """A black body's temperature [K] or g-r [mag] at peak, and how it changes."""

    temperature: Kelvin | None = None
    early: Kelvin | None = None
    """At first light."""
    later: Kelvin | None = None
    """Where it ends."""
    cooling: Days | None = None
    """e-folding time of that."""
    g_r: Shade | None = None
    trend: Trend = NOTHING
    """Of g-r, before the peak and after."""
    until: Days | None = None
    """After the peak, when the trend ends."""
    ultraviolet: Fall = NOTHING
    """Missing light below 3900 Å, per 1000 Å."""
    blanketing: Fall = NOTHING
    """Missing light below 5000 Å, per 1000 Å, that comes within a decline's first weeks."""

    @pydantic.model_validator(mode="after")
    def _one(self) -> Self:
        if (self.temperature is None) == (self.g_r is None):
            raise ValueError("give one of temperature [K] and g_r [mag]")
        if self.temperature is None and (self.early or self.later or self.cooling):
            raise ValueError("early, later and cooling belong to a temperature; g_r has trend and until")
        if self.g_r is None and (self.until is not None or self.trend != NOTHING):
            raise ValueError("trend and until belong to g_r; a temperature has early, later and cooling")
        if (self.later is None) != (self.cooling is None):
            raise ValueError("later [K] and cooling [d] go together")
        return self


class Peak(_Part):
    """How bright: absolute (AB, g at rest) outside the Galaxy, an amplitude over the star in it."""

    absolute: Absolute | None = None
    amplitude: Amplitude | None = None
    star_g_r: Shade = Spread(-0.5, 3.0, 0.6, 0.3, False)
    """Colour of the quiescent star."""

    @pydantic.model_validator(mode="after")
    def _one(self) -> Self:
        if (self.absolute is None) == (self.amplitude is None):
            raise ValueError("give one of absolute [mag], for what lies outside the Galaxy, and amplitude [mag], for a star")
        return self


class SecondPeak(_Part):
    """Another maximum, before or after the first one."""

    after: Offset
    height: Share
    width: Days
    chance: Annotated[float, pydantic.Field(ge=0.0, le=1.0)] = 1.0
    above: Annotated[float, pydantic.Field(ge=1000.0, le=20000.0)] | None = None
    """Only at longer wavelengths [Å, at rest]."""


class Period(_Part):
    """A star that pulsates or turns."""

    days: Days
    rise: Fraction = Spread(0.5, 0.5, 0.5, None, False)
    bluer: Annotated[float, pydantic.Field(ge=-3.0, le=3.0)] = 1.0
    """The amplitude goes as λ^-bluer."""


Environment: TypeAlias = Literal["nuclear", "in-disc", "outskirts", "dwarf", "hostless", "star"]
Words: TypeAlias = Annotated[tuple[Annotated[str, pydantic.Field(min_length=1, max_length=200)], ...], pydantic.Field(strict=False)]


class Description(_Part):
    """A class as a physicist would describe it."""

    name: Annotated[str, pydantic.Field(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
    synonyms: Words = ()
    text: Annotated[str, pydantic.Field(min_length=1, max_length=4000)]
    sources: Words = ()
    sky: SkyKind
    environment: Environment
    profile: Literal["pulse", "lens"] = "pulse"
    rise: Days | None = None
    plateau: Plateau | None = None
    decline: Decline | None = None
    second_peak: SecondPeak | None = None
    recurrence: Days | None = None
    period: Period | None = None
    duration: Annotated[float, pydantic.Field(ge=1e-3, le=2000.0)]
    """Days after first light (at rest) within which anybody looks."""
    colour: Colour | None = None
    peak: Peak
    redshift: Annotated[tuple[float, float], pydantic.Field(strict=False)] | None = None
    dust: Annotated[float, pydantic.Field(ge=0.0, le=5.0)] = 0.0
    """Mean of A_V in the host [mag], exponentially distributed."""

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name in ("bogus", "asteroid"):
            raise ValueError(f"name: {self.name} is what a survey's artefacts and moving objects are called: choose another")
        outside = self.sky == "extragalactic"
        if outside != (self.peak.absolute is not None):
            raise ValueError(f"sky {self.sky} needs peak.{'absolute' if outside else 'amplitude'} [mag]")
        if outside == (self.environment == "star"):
            raise ValueError(f"sky {self.sky} and environment {self.environment} exclude each other")
        if outside and (self.period or self.recurrence or self.profile == "lens"):
            raise ValueError("period, recurrence and profile lens belong to stars: sky must not be extragalactic")
        if not outside and (self.redshift or self.dust):
            raise ValueError("redshift and dust belong to sky extragalactic")
        if self.sky == "ecliptic":
            raise ValueError("sky ecliptic is for moving objects: choose extragalactic, disc, halo, bulge, star-forming or any")
        if self.redshift is not None and not 0 < self.redshift[0] < self.redshift[1] <= 8:
            raise ValueError("redshift must be two numbers between 0 and 8, the lower one first")
        if self.period is None and self.rise is None:
            raise ValueError("rise [d] is missing (of a lens: its Einstein time)")
        if self.period is None and self.profile == "pulse" and self.decline is None:
            raise ValueError("decline is missing: rate [mag/d], e_folding [d] or index")
        if self.period is None and self.profile == "pulse" and self.colour is None:
            raise ValueError("colour is missing: temperature [K] or g_r [mag]")
        return self

    @property
    def programme(self) -> str:
        """Whose fields and cadence such events are looked for with (a key of `cadence.PROGRAMMES`)."""
        if self.period is not None or self.duration > 15:
            return ""
        return "m-dwarf-flare" if self.duration < 1 else "kilonova"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without what surprises: no key twice, no anchors (a bomb needs them), and 1e-3 is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "references (*name) are not read", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a field's name must be a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def parse(text: str, where: str = "the description") -> Description:
    """Read a description.

    Raises
    ------
    DescriptionError
        One line: `where`, the field, what it must be.
    """
    try:
        found = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader that reads less)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f" line {mark.line + 1}" if mark else ""
        raise DescriptionError(f"{where}:{at} {error.problem or 'no YAML'}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DescriptionError(
            f"{where} is not YAML that can be read: {(str(error).splitlines() or ['nested too deep'])[0][:120]}"
        ) from None
    if not isinstance(found, dict):
        raise DescriptionError(f"{where} is not a description: it must be lines of field: value (docs/descriptions.md)")
    try:
        return Description.model_validate(found)
    except pydantic.ValidationError as error:
        raise DescriptionError(f"{where}: {_explain(error)}") from None


def _explain(error: pydantic.ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{field} is not a field of a description (docs/descriptions.md lists them)"
    if first["type"] == "missing":
        return f"{field} is missing"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "string_pattern_mismatch":
        message = "must be lower-case letters, digits and hyphens, at most 48"
    if first["type"] != "value_error":
        message += f", not {first['input']!r:.60}"
    return f"{field}: {message}" if field else message


def read(path: Path) -> Description:
    """Read a description's file.

    Raises
    ------
    DescriptionError
        It is not there, too large, or no description.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(LARGEST + 1)
        text = raw.decode("utf-8")
    except OSError as error:
        raise DescriptionError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except UnicodeDecodeError:
        raise DescriptionError(f"{path} is not text") from None
    if len(raw) > LARGEST:
        raise DescriptionError(f"{path} is larger than {LARGEST:,} bytes")
    return parse(text, str(path))


@functools.cache
def shipped() -> dict[str, Description]:
    """The descriptions that come with us, by name."""
    found = (read(path) for path in sorted(SHIPPED.glob("*.yaml")))
    return {description.name: description for description in found}
