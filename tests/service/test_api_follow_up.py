"""`/v1/candidates`: the latest step of each, in pages; private ones for those who may see them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from schemas.records import codec
from streams.agents.candidates import Book
from streams.candidate_list import CandidateList
from streams.kafka import topics
from tests.service.api_client import Api
from tests.streams.made_detections import detection


def candidates_known() -> CandidateList:
    known, book = CandidateList(), Book()
    found = [detection(f"Z{k}", 60_000.0 + k, programid=2 if k == 4 else 1) for k in range(5)]
    found += [detection("Z0", 60_010.0, published=False), detection("Z1", 60_010.0, name="sn-ia")]
    at = 1_700_000_000_000
    for one in found:
        for step in book.take(one):
            at += 1
            topic = topics.CANDIDATES if step.programid == 1 else topics.CANDIDATES_PRIVATE
            message: Any = SimpleNamespace(value=codec.encode(step), key=step.key, topic=topic, timestamp=at, partition=0, offset=at)
            known.take(message)
    known.complete = True
    return known


async def test_candidates_in_pages(tmp_path: Path) -> None:
    api = Api(tmp_path, candidates=candidates_known())
    async with api.client(api.key("read")) as client:
        first = (await client.get("/v1/candidates", params={"limit": 2})).json()
        rows = [(row["object_id"], row["class_name"], row["event"]) for row in first["data"]]
        assert rows == [("Z1", "sn-ia", "opened"), ("Z1", "tde", "fell")]
        rest = (await client.get("/v1/candidates", params={"limit": 2, "cursor": first["next"]})).json()
        assert [row["object_id"] for row in rest["data"]] == ["Z0", "Z3"]
        standing = (await client.get("/v1/candidates", params={"standing": True, "class": "tde"})).json()["data"]
        assert [row["object_id"] for row in standing] == ["Z3", "Z2"]
        assert standing[0]["candid"] == "60003000"
        assert (await client.get("/v1/candidates", params={"sort": "x"})).status_code == 422
    async with api.client(api.key("read", private=True)) as client:
        seen = (await client.get("/v1/candidates")).json()["data"]
        assert "Z4" in {row["object_id"] for row in seen}


async def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    api = Api(tmp_path)
    async with api.client(api.key("read")) as client:
        answer = await client.get("/v1/candidates")
    assert answer.status_code == 503
