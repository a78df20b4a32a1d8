"""What a training is asked for: `Plan`, checked when it is made, written into the bundle's manifest and read back from it.

A plan holds all that decides the network, and nothing that does not: no folder of this machine, no number of processes. The same plan
gives the same weights on the same machine. JSON in, JSON out; a plan of an older version lacks fields and takes their defaults, one of
a newer version is refused by the name of the field that is not known here. Needs no torch: a caller who plans need not train.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any, TypeGuard

from data.simulate.classes import CLASSES, KINDS
from errors import UserError, one_line
from learning.augment import GONE, Strength
from learning.hyperparameters import PARTS, EncoderConfig, Hyperparameters
from operators.context import SURROUNDINGS

MINUTES = 60.0
STEPS_A_MINUTE = 540
"""On two cores of a server; a constant, so that `Plan.minutes` means the same network everywhere."""
SIMULATED_A_MINUTE = 25_000
"""Alerts, on the same machine."""
CURVES_A_MINUTE = 35_000
SPACE_A_MINUTE = 3_000
MINUTES_BESIDE = 2.0
"""For export, calibration and evaluation."""
FEWEST_STEPS = 50
LEAST_A_CLASS = 20
"""Alerts of each class of the stream to train on."""
FINE_TUNING: Mapping[str, float] = {"learning_rate": 4e-4, "warm_up": 0.1}
"""Hyperparameters that differ where a training goes on from a bundle: a fifth of the rate, reached slowly, so that the first steps, whose
moments are not known yet, do not undo what was learnt."""
LARGEST_SIZE = 4096
SHA256 = re.compile(r"[0-9a-f]{64}")
SHARES = ("curves", "space", "labelled", "warm_up", "label_smoothing", "average")
"""Hyperparameters between 0 and 1."""
ABOVE_ZERO = ("batch", "shards", "learning_rate", "contrast_temperature", "clip")
SIZES = ("dilation", "wavelength", "scatter", "stamp_noise")
"""Numbers of the augmentation that are not chances."""
BY_THE_INPUTS = ("classes", "features", "values", "folded", "dips")
"""Sizes of the encoder that follow from the code, not from a plan."""

Numbers = Mapping[str, float]


class PlanError(UserError):
    """A plan that cannot be trained.

    Parameters
    ----------
    name : str
        The field of `Plan`.
    message : str
        What it must be; one line.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name} {one_line(message)}", 2)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is trained, on what, from what, and how.

    Raises
    ------
    PlanError
        A field is out of its range, names what there is not, or contradicts another.
    """

    alerts: int = 60_000
    """Simulated alerts with images to train on."""
    curves: int = 240_000
    """Simulated light curves without images to train on; 0: none."""
    space: int = 16_000
    """Simulated light curves of stars as TESS sees them to train on; 0: none."""
    steps: int | None = None
    """Steps of the optimiser; None: as many as fit into `minutes` by the fixed rates above."""
    minutes: float = MINUTES
    """On two cores, all in all; of no account where `steps` is given."""
    seed: int = 0
    """Of the simulation, the first weights, every batch and augmentation."""
    without: tuple[str, ...] = ()
    """Simulated kinds that are left out of the training set (of what calibrates the head, they are not)."""
    start_from: str | None = None
    """A bundle whose encoder is trained further: its folder, ``published``, or (in a manifest) its sha256. None: from the seed."""
    trainable: tuple[str, ...] = ()
    """Parts of that encoder that change (`hyperparameters.PARTS`), such as `hyperparameters.LAST_LAYERS`; none named: all of them."""
    hyperparameters: Numbers = field(default_factory=dict, hash=False)
    """What differs from the defaults of `Hyperparameters` (from `FINE_TUNING` first, where there is a `start_from`)."""
    augmentation: Numbers = field(default_factory=dict, hash=False)
    """What differs from the defaults of `augment.Strength`."""
    missing: Numbers = field(default_factory=dict, hash=False)
    """Value of the surroundings → chance that a training alert lacks it, where it differs from `augment.GONE` and `Strength.no_value`.
    Every value that a packet or a catalogue may give (redshift, host, matches) is masked where it is missing; what is dropped often is not
    leant on."""
    encoder: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict, hash=False)
    """What differs from the defaults of `EncoderConfig`, but for what follows from the code's own inputs (`BY_THE_INPUTS`)."""

    def __post_init__(self) -> None:
        for name in ("without", "trainable"):
            object.__setattr__(self, name, _words(name, getattr(self, name)))
        _check_data(self)
        _check_start(self)
        for name, check in (
            ("hyperparameters", _hyperparameters),
            ("augmentation", _augmentation),
            ("missing", _missing),
            ("encoder", _encoder),
        ):
            object.__setattr__(self, name, check(getattr(self, name)))
        numbers = self.numbers()
        if numbers.batch % numbers.shards or numbers.batch < numbers.shards:
            raise PlanError("hyperparameters", f"batch must be a multiple of the {numbers.shards} shards")

    def numbers(self) -> Hyperparameters:
        """The hyperparameters in full."""
        different = {**(FINE_TUNING if self.start_from is not None else {}), **self.hyperparameters}
        steps = steps_for(self.minutes, self.alerts, curves=self.curves, space=self.space) if self.steps is None else self.steps
        return Hyperparameters(**{"steps": steps, "seed": self.seed, **different})  # type: ignore[arg-type]

    def strength(self) -> Strength:
        """The augmentation in full."""
        return Strength(**{**self.augmentation, "missing": {**GONE, **self.missing}})  # type: ignore[arg-type]

    def config(self) -> EncoderConfig:
        """The sizes of the encoder in full."""
        return EncoderConfig(**{"classes": len(KINDS), **self.encoder})  # type: ignore[arg-type]

    def record(self) -> dict[str, Any]:
        """The plan as JSON holds it; what is at its default is left out."""
        found = asdict(self)
        return {f.name: _plain(found[f.name]) for f in fields(self) if found[f.name] != _default(f)}

    def resolved(self, start_from: str | None) -> Plan:
        """The plan as a manifest keeps it: steps instead of minutes, and the sha256 of the bundle it started from instead of a folder."""
        return replace(self, steps=self.numbers().steps, minutes=MINUTES, start_from=start_from)

    def to_json(self) -> str:
        """The record as text."""
        return json.dumps(self.record(), indent=1, sort_keys=True)

    @classmethod
    def from_record(cls, record: object) -> Plan:
        """Read a plan back.

        Raises
        ------
        PlanError
            It is not an object with fields of a plan, or one of them is wrong.
        """
        if not isinstance(record, Mapping):
            raise PlanError("a plan", f"must be an object of fields, not {one_line(repr(record), 60)}")
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(map(str, record)) - set(known))
        if unknown:
            raise PlanError(unknown[0], f"is not a field of a plan; there are {', '.join(known)}")
        values: dict[str, Any] = {str(name): value for name, value in record.items()}
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan from text; see `from_record`."""
        try:
            record = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanError("a plan", f"must be JSON: {error}") from None
        return cls.from_record(record)


def steps_for(minutes: float, alerts: int, *, curves: int = 0, space: int = 0) -> int:
    """Steps that fit into the minutes beside the rest, by the fixed rates; two digits of them."""
    left = minutes - MINUTES_BESIDE - alerts / SIMULATED_A_MINUTE - curves / CURVES_A_MINUTE - space / SPACE_A_MINUTE
    steps = max(FEWEST_STEPS, round(left * STEPS_A_MINUTE))
    return round(steps, 2 - len(str(steps)))


def _default(f: Field[Any]) -> object:
    return f.default if f.default is not MISSING else f.default_factory() if f.default_factory is not MISSING else MISSING


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _words(name: str, given: object) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(word, str) for word in given):
        raise PlanError(name, f"must be a list of names, not {one_line(repr(given), 60)}")
    return tuple(given)


def _check_data(plan: Plan) -> None:
    least = LEAST_A_CLASS * len(CLASSES)
    _whole("alerts", plan.alerts, low=least, what=f"{least} at least: {LEAST_A_CLASS} a class")
    _whole("curves", plan.curves, low=0, what="0 or more")
    _whole("space", plan.space, low=0, what="0 or more")
    if plan.steps is not None:
        _whole("steps", plan.steps, low=1, what="above 0")
    if not _number(plan.minutes) or not 0 < plan.minutes < math.inf:
        raise PlanError("minutes", f"must be above 0, not {plan.minutes!r}")
    _whole("seed", plan.seed, low=0, what="from 0 to 4,294,967,295", high=(1 << 32) - 1)
    for name in plan.without:
        if name not in KINDS:
            raise PlanError("without", f"must name simulated kinds, not {name!r}: {', '.join(KINDS)}")


def _check_start(plan: Plan) -> None:
    if plan.start_from is not None and (not isinstance(plan.start_from, str) or not plan.start_from.strip()):
        raise PlanError("start_from", f"must name a bundle, not {plan.start_from!r}")
    if plan.trainable and plan.start_from is None:
        raise PlanError("trainable", "needs start_from: parts that were never trained cannot stay as they are")
    for name in plan.trainable:
        if name not in PARTS:
            raise PlanError("trainable", f"must name parts of the encoder, not {name!r}: {', '.join(PARTS)}")
    if plan.encoder and plan.start_from is not None:
        raise PlanError("encoder", "follows from start_from: a bundle's encoder keeps its sizes")


def _hyperparameters(given: Numbers) -> dict[str, float]:
    defaults = {k: v for k, v in asdict(Hyperparameters(steps=1)).items() if k not in ("steps", "seed")}
    found = _typed("hyperparameters", given, defaults=defaults)
    for name, value in found.items():
        if name in SHARES and not 0 <= value <= 1:
            raise PlanError("hyperparameters", f"{name} must be between 0 and 1, not {value:g}")
        if value < 0 or (name in ABOVE_ZERO and value == 0):
            raise PlanError("hyperparameters", f"{name} must be {'above 0' if name in ABOVE_ZERO else '0 or more'}, not {value:g}")
    return found


def _augmentation(given: Numbers) -> dict[str, float]:
    defaults = {f.name: f.default for f in fields(Strength) if f.name != "missing"}
    found = _typed("augmentation", given, defaults=defaults)
    for name, value in found.items():
        if value < 0 or (name not in SIZES and value > 1):
            raise PlanError("augmentation", f"{name} must be {'0 or more' if name in SIZES else 'a chance between 0 and 1'}, not {value:g}")
    return found


def _missing(given: Numbers) -> dict[str, float]:
    found = _typed("missing", given, defaults=dict.fromkeys(SURROUNDINGS, 0.0))
    for name, value in found.items():
        if not 0 <= value <= 1:
            raise PlanError("missing", f"{name} must be a chance between 0 and 1, not {value:g}")
    return found


def _encoder(given: Mapping[str, object]) -> dict[str, int | tuple[int, ...]]:
    known = [f.name for f in fields(EncoderConfig) if f.name not in BY_THE_INPUTS]
    found: dict[str, int | tuple[int, ...]] = {}
    for name, value in _mapping("encoder", given, known=known).items():
        several = name == "channels"
        sizes = tuple(value) if several and isinstance(value, list | tuple) else (value,)
        if not sizes or not all(_is_whole(size) and 1 <= size <= LARGEST_SIZE for size in sizes):
            raise PlanError("encoder", f"{name} must be {'numbers' if several else 'a number'} from 1 to {LARGEST_SIZE}, not {value!r}")
        found[name] = sizes if several else sizes[0]
    return found


def _typed(name: str, given: object, *, defaults: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name, each of its default's type."""
    found: dict[str, float] = {}
    for key, value in _mapping(name, given, known=list(defaults)).items():
        kind = type(defaults[key])
        if not _number(value) and not (kind is bool and isinstance(value, bool)):
            raise PlanError(name, f"{key} must be a number, not {value!r}")
        if kind is not float and float(value) != int(value):
            raise PlanError(name, f"{key} must be a whole number, not {value:g}")
        if kind is bool and value not in (0, 1):
            raise PlanError(name, f"{key} must be 0 or 1, not {value:g}")
        found[key] = kind(value)
    return found


def _mapping(name: str, given: object, *, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise PlanError(name, f"must be numbers by name, not {one_line(repr(given), 60)}")
    for key in given:
        if key not in known:
            raise PlanError(name, f"takes not {key!r} but {', '.join(sorted(known))}")
    return given


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(name: str, value: object, *, low: int, what: str, high: float = math.inf) -> None:
    if not _is_whole(value) or not low <= value <= high:
        raise PlanError(name, f"must be {what}, not {value!r}")
