"""A calibrated frame as it is announced: `calibrated_frame.avsc` as a dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.avro.wire import PacketError
from schemas.records.parts import check_counts, check_digests, check_file, check_finite, check_texts

FIGURES = (
    "pixel_scale", "sky", "noise", "seeing", "elongation", "saturated_share", "cosmic_ray_share", "bad_share", "zero_point",
    "zero_point_err", "limit",
)  # fmt: skip
"""Fields that are null where they were not measured."""
MOST_FLAGS = 64
CORNERS = 4


@dataclass(frozen=True, slots=True)
class CalibratedFrame:
    """A calibrated frame; every field stands in `calibrated_frame.avsc`, in the same order."""

    frame_id: str
    detector: str
    filter: str
    field: str
    mjd: float
    exposure: float
    public: bool
    uri: str
    length: int
    sha256: str
    raw_sha256: str
    masters: tuple[str, ...]
    footprint: tuple[float, ...]
    pixel_scale: float | None
    sky: float | None
    noise: float | None
    seeing: float | None
    elongation: float | None
    n_stars: int
    saturated_share: float | None
    cosmic_ray_share: float | None
    bad_share: float | None
    zero_point: float | None
    zero_point_err: float | None
    limit: float | None
    flags: tuple[str, ...]
    calibrated_ms: int

    @property
    def key(self) -> bytes:
        """Key on the topic, which chooses the partition: a pointing's frames stay in order; by detector where none is stated."""
        return (self.field or self.detector).encode()


def from_row(row: Mapping[str, Any]) -> CalibratedFrame:
    """A calibrated frame from its plain values.

    Raises
    ------
    schemas.avro.wire.PacketError
        A value that no calibrated frame of ours has.
    """
    check_texts(row, "frame_id", "detector", "filter", "field")
    check_file(row)
    check_digests("raw_sha256 and masters", (row["raw_sha256"], *row["masters"]))
    check_counts("n_stars and calibrated_ms", (row["n_stars"], row["calibrated_ms"]))
    check_finite(row, "mjd", "exposure", *(name for name in FIGURES if row[name] is not None))
    if len(row["footprint"]) not in (0, 2 * CORNERS) or not all(abs(angle) <= 360 for angle in row["footprint"]):
        raise PacketError("bad_value", f"footprint has {len(row['footprint']):,} angles: {CORNERS} corners on the sky, or none")
    if len(row["flags"]) > MOST_FLAGS or any(len(flag) > MOST_FLAGS for flag in row["flags"]):
        raise PacketError("bad_value", "flags are more or longer than any of ours")
    lists = ("masters", "footprint", "flags")
    return CalibratedFrame(**{**row, **{name: tuple(row[name]) for name in lists}})
