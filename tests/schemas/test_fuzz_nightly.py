"""A night of damaged packets between good ones: each is one row or one reject, and never changes its neighbours."""

from __future__ import annotations

import os
from itertools import islice

import numpy as np
import pytest

from data.simulate.night import alert_at
from data.simulate.survey_packets import packet
from schemas.avro.container import encode_rubin
from schemas.avro.schema_store import SchemaStore
from schemas.surveys import frame_alerts, tess
from schemas.surveys.decode import Decoder
from tests.conftest import real_ztf_files
from tests.schemas.made import frames_record, tess_record
from tests.schemas.test_hostile import rubin_record

ROUNDS = int(os.environ.get("PROTONOVA_FUZZ_ROUNDS", "4000"))
"""Batches of `BATCH` packets, half of them damaged."""
BATCH = 32
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200)]


def seeds() -> list[bytes]:
    """Simulated and real packets of every survey."""
    simulated = [packet(alert_at(5, k)) for k in range(12)]
    real = [path.read_bytes() for path in islice(real_ztf_files(), 0, None, 7)][:40]
    return [
        *simulated,
        *real,
        tess.encode(tess_record()),
        frame_alerts.encode(frames_record()),
        encode_rubin(rubin_record(), 900, SchemaStore()),
    ]


def damaged(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One of six ways in which transport and producers damage a packet."""
    out = bytearray(data)
    way = rng.integers(6)
    at = int(rng.integers(len(out)))
    if way == 0:  # bits
        for place in rng.integers(0, len(out), rng.integers(1, 9)):
            out[place] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del out[at:]
    elif way == 2:  # a piece is missing
        del out[at : at + int(rng.integers(1, 200))]
    elif way == 3:  # a piece comes twice
        out[at:at] = out[at : at + int(rng.integers(1, 200))]
    elif way == 4:  # the rest is another packet's
        out[at:] = other[min(at, len(other)) :]
    else:  # lengths and counts lie
        out[at : at + 8] = rng.choice([b"\xff" * 8, b"\xfe\xff\xff\xff\xff\xff\xff\xff", b"\0" * 8, b"\x80" * 8])
    return bytes(out)


def test_a_damaged_packet_costs_itself_alone() -> None:
    rng = np.random.default_rng(11)
    good, decoder, rejected = seeds(), Decoder(), 0
    expected = []
    for data in good:
        alone = Decoder().decode([data])
        assert len(alone.index) == 1, "a seed is a packet"
        expected.append(alone.batch)
    for number in range(ROUNDS):
        chosen = rng.integers(0, len(good), BATCH)
        broken = rng.random(BATCH) < 0.5
        packets = [damaged(good[k], good[int(rng.integers(len(good)))], rng) if b else good[k] for k, b in zip(chosen, broken, strict=True)]
        found = decoder.decode(packets)
        rows = {index: row for row, index in enumerate(found.index)}
        refused = {index for index, _ in found.rejected}
        assert rows.keys() | refused == set(range(BATCH)), f"round {number}"
        assert not rows.keys() & refused
        assert all(why.error_class and why.reason and "\n" not in why.reason for _, why in found.rejected)
        rejected += len(refused)
        for i in np.flatnonzero(~broken):
            assert i in rows, f"round {number}: a good packet was refused"
            batch, row = expected[chosen[i]], rows[i]
            for name in ("flux", "time", "context", "measured", "stamps"):
                ours, alone = getattr(found.batch, name)[row], getattr(batch, name)[0]
                np.testing.assert_array_equal(ours, alone, err_msg=f"round {number}: {name} of packet {i} changed by its neighbours")
    assert rejected > ROUNDS * BATCH / 8
