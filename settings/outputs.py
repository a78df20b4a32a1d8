"""In which form the detections of a topic are written: a table of topic patterns, the first that matches decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from errors import nearest

FORMS = ("confluent", "container", "fink", "json")
"""What `schemas/records/dialects.py` writes."""
FAMILY = "detections"
"""The topic that has a form, as have those below it; see `streams.kafka.topics`."""


class OutputSettings(BaseModel):
    """Outputs."""

    dialects: Annotated[dict[str, str], NoDecode] = Field(
        {},
        description="Form of the detections by topic, the first match decides: `[dialects]` in protonova.toml, or "
        "pattern=form[,pattern=form]; forms: confluent (default), container, fink, json (docs/clients.md)",
    )
    container_output: bool = Field(False, description="The same as a last row `detections*=container` of `dialects`; its former name")

    @field_validator("dialects", mode="before")
    @classmethod
    def _table(cls, given: Any) -> dict[str, str]:
        if isinstance(given, str):
            pairs = [row.partition("=") for row in given.split(",") if row.strip()]
            if any(not sign for _, sign, _ in pairs):
                raise ValueError("pattern=form[,pattern=form] is meant, such as detections.tde=json,detections.*=fink")
            given = {pattern.strip(): form.strip() for pattern, _, form in pairs}
        if not isinstance(given, Mapping):
            raise ValueError('a table of topic patterns is meant, such as [dialects] with "detections.*" = "fink"')
        for pattern, form in given.items():
            if form not in FORMS:
                raise ValueError(
                    f"{pattern}: {str(form)[:60]!r} is not a form ({', '.join(FORMS)}); did you mean {nearest(str(form), FORMS)}?"
                )
            if not _may_match(pattern):
                raise ValueError(f"{str(pattern)[:60]!r} matches no topic of detections: {FAMILY}, {FAMILY}.<class>, {FAMILY}.private")
        return dict(given)

    def form_of(self, topic: str) -> str:
        """The form of a topic's detections."""
        found = next((form for pattern, form in self.dialects.items() if fnmatchcase(topic, pattern)), None)
        return found or ("container" if self.container_output else FORMS[0])


def _may_match(pattern: str) -> bool:
    """Whether some topic of detections matches."""
    if not re.fullmatch(r"[A-Za-z0-9._*?-]{1,249}", pattern):
        return False
    begins, wild, _ = re.split(r"([*?])", pattern, maxsplit=1) if re.search(r"[*?]", pattern) else (pattern, "", "")
    return begins.startswith(f"{FAMILY}.") or fnmatchcase(FAMILY, pattern) or bool(wild and f"{FAMILY}.".startswith(begins))
