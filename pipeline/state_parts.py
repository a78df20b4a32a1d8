"""What a state's parts are called by, and its part that is not a model: the catalogues that the sky is compared with.

texts → an id; catalogues → `ReferencePart`
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from data.catalogues.catalogue_store import Catalogue

ID_DIGITS = 16
"""Hex digits of a sha256 that an id keeps."""


def id_of(parts: Iterable[str]) -> str:
    """Give what consists of these parts an id."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:ID_DIGITS]


@dataclass(frozen=True, slots=True)
class ReferencePart:
    """What the sky is compared with: catalogues. They fill fields of a detection and no probability follows from them."""

    catalogues: tuple[tuple[str, str], ...] = ()
    """Name and digest of each."""
    opened: tuple[Catalogue, ...] = field(default=(), compare=False, repr=False)
    """The same, as maps of their files."""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", id_of(text for catalogue in self.catalogues for text in catalogue))
