"""Our own schemas, and the ids that they have for ever.

`*.avsc` → `SUBJECTS`

The status page serves them by the API of Confluent's registry, so that any client decodes. The ids lie above those of any survey
(Rubin's are 100 · version).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_SURVEYS = _HERE.parent / "surveys"


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema under a fixed id."""

    subject: str
    id: int
    version: int
    schema_text: str


def _register(subject: str, schema_id: int, file: str | Path) -> RegisteredSchema:
    text = json.dumps(json.loads((_HERE / file).read_text(encoding="utf-8")), separators=(",", ":"))
    return RegisteredSchema(subject, schema_id, 1, text)


DETECTION_ID, REJECTED_ID, TELEMETRY_ID, TESS_ID = 1_000_001, 1_000_002, 1_000_003, 1_000_004
SUBJECTS: dict[str, RegisteredSchema] = {
    registered.subject: registered
    for registered in (
        _register("detections-value", DETECTION_ID, "detection.avsc"),
        _register("alerts.rejected-headers", REJECTED_ID, "rejected.avsc"),
        _register("telemetry.scores-value", TELEMETRY_ID, "telemetry.avsc"),
        _register("alerts.tess-value", TESS_ID, _SURVEYS / "tess.avsc"),
    )
}
