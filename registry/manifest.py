"""A bundle's `manifest.json`: classes, how it was made and what it reached, and what its other files must be.

text → `Manifest`, or a `BundleError` that names the field
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from errors import UserError

OPTIONAL = ("plan", "lock", "taught", "retrain")
"""Fields of a manifest that are left out where they are None or empty."""


class BundleError(UserError):
    """The folder is not a bundle, is damaged, or is of another format. One line."""

    hint = "`protonova doctor` shows which model and engine would be used"


class FileRecord(pydantic.BaseModel, frozen=True, extra="forbid"):
    """What a file must be."""

    sha256: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
    size: pydantic.PositiveInt


class Manifest(pydantic.BaseModel, frozen=True, extra="forbid"):
    """`manifest.json`."""

    format: Literal[3, 4]
    """3: one prototype a class, and one measure of novelty for all of them."""
    classes: Annotated[tuple[str, ...], pydantic.Field(min_length=1, max_length=1000)]
    """Slugs; the order of every class axis in `arrays.safetensors`, `other` not among them."""
    kinds: Annotated[tuple[str, ...], pydantic.Field(min_length=1, max_length=1000)]
    """Simulated kinds; the order of the network's logits and of the first axis of `zero_shot`."""
    taxonomy: str
    """Version of the table that maps the slugs to other brokers' names."""
    encoder: dict[str, int | list[int] | list[str]]
    """Sizes of the network."""
    parameters: pydantic.PositiveInt
    created_by: str
    created_on: str
    """A date, year-month-day."""
    command: str
    head_command: str = ""
    """What made the head, where it was made anew without the encoder."""
    seed: int
    stream: dict[str, float]
    """What was assumed of a stream: `alerts_a_night`, and nothing that is not also in the arrays."""
    figures: dict[str, Any]
    """What this model reached, as `learning.assessment` found it."""
    plan: dict[str, Any] | None = None
    """What it was trained by: `learning.plan.Plan.record`; None: before there were plans."""
    lock: str = ""
    """sha256 of what DVC's lock says of the stages that made it (`learning.recipe_stages.lock_hash`); empty: no lock."""
    taught: dict[str, pydantic.NonNegativeInt] | None = None
    """Classes that the head holds beside those of the model, by `operators.taught` → revision of the class's record that its examples are
    from, 0 where they are labels alone; None: none."""
    retrain: dict[str, Any] | None = None
    """What a challenger was made from: `learning.challengers`; None: it is not one."""
    files: dict[str, FileRecord]


def manifest_of(text: bytes, *, where: str) -> Manifest:
    """The manifest that a text is; a `BundleError` that names where it stands, if it is none."""
    try:
        return Manifest.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "its text"
        raise BundleError(f"{where} is not a bundle's manifest: {at}: {first['msg']}") from None
