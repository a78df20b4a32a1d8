"""Classes, models and rejected packets changed over HTTP on a real broker: who comes second learns it; every step is on its topic."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from data.simulate.night import night
from registry.bundle import load
from service.api.broker_facts import FRESH_S
from streams.kafka import topics
from streams.models import submit
from tests.flow.conftest import Bench
from tests.flow.test_api_flow import ready, serving
from tests.flow.test_models_flow import other_model
from tests.flow.test_teach_flow import simulated


async def said(client: httpx.AsyncClient, method: str, path: str, status: int = 200, **options: Any) -> Any:
    """The data of an answer with this status; of a problem all of it."""
    answer = await client.request(method, path, **options)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:600]}"
    found = answer.json()
    return found["data"] if status < 400 else found


@pytest.mark.slow
async def test_a_class_and_a_model_over_http(bench: Bench, tmp_path: Path) -> None:
    known, new = simulated("sn-ia", 60), simulated("lrn", 6)
    candid = next(truth.candid for _, truth in night(5, 60, mix={"sn-ia": 1.0}, duplicates=0, broken=0))
    await bench.publish([*known, *new])
    first = await submit(bench.settings, other_model(tmp_path / "other"), author="ada")
    examples = [base64.b64encode(packet).decode() for packet in new]
    with serving(bench) as api:
        async with api.client() as client:
            await ready(client)
            client.timeout = httpx.Timeout(180)

            # Looked at, taught, taught once more by two at once.
            lesson = {"packets": examples, "window": 200}
            preview = await said(client, "POST", "/v1/classes/fast-blue/preview", json=lesson)
            assert (preview["window"], len(preview["examples"]), preview["based_on"]) == (60, 6, 0)
            taught = await said(client, "POST", "/v1/classes/fast-blue", json={**lesson, "revision": 0, "note": "six of them"})
            assert (taught["revision"], taught["threshold"]) == (1, preview["threshold"])
            assert (await said(client, "POST", "/v1/classes/fast-blue", 409, json=lesson))["revision"] == 1
            again = {"alerts": [f"ztf:{candid}"], "mode": "merge", "revision": 1, "window": 200}
            both = await asyncio.gather(*(client.post("/v1/classes/fast-blue", json=again) for _ in range(2)))
            assert sorted(answer.status_code for answer in both) == [200, 409], [answer.text[:300] for answer in both]
            [second] = [answer.json() for answer in both if answer.status_code == 409]
            assert second["revision"] == 2
            shown = await said(client, "GET", "/v1/classes/fast-blue")
            assert (shown["taught"], shown["revision"], len(shown["examples"]), shown["author"]) == (True, 2, 7, "local")
            listed = await said(client, "GET", "/v1/classes")
            assert [row["examples"] for row in listed if row["name"] == "fast-blue"] == [7]

            # The process itself scores with it some seconds later, and so it can be asked which alert to label.
            for _ in range(200):
                answer = await client.get("/v1/classes/fast-blue/suggest?limit=5&window=100")
                if answer.status_code == 200:
                    break
                await asyncio.sleep(0.2)
            assert 0 < len(answer.json()["data"]) <= 5
            document = (await client.get("/v1/classes/fast-blue/export")).content
            assert (await said(client, "DELETE", "/v1/classes/fast-blue?revision=1", 409))["revision"] == 2
            assert (await said(client, "DELETE", "/v1/classes/fast-blue?revision=2"))["revision"] == 3
            await said(client, "GET", "/v1/classes/fast-blue", 404)
            back = await said(client, "POST", "/v1/classes", content=document, headers={"Content-Type": "application/json"})
            assert (back["name"], back["revision"], back["missing"]) == ("fast-blue", 4, 0)

            # Another model is compared, promoted and rolled back.
            compared = await said(client, "GET", "/v1/models/compare?a=champion&b=challenger&packets=40")
            assert compared["differences"]
            assert (compared["packets"], compared["a"]["model"]) == (40, load().sha256[:16])
            promoted = await said(client, "POST", "/v1/models/challenger/promote", json={"revision": 0, "note": "finds more"})
            assert promoted["sha256"] == first.sha256
            late = await said(client, "POST", f"/v1/models/{load().sha256[:8]}/promote", 409, json={"revision": 0})
            assert late["revision"] == promoted["revision"]
            back_again = await said(client, "POST", "/v1/models/rollback", json={"revision": promoted["revision"]})
            assert back_again["sha256"] == load().sha256
            assert (await said(client, "POST", "/v1/models/rollback", 409, json={"revision": 1}))["revision"] == back_again["revision"]
            await asyncio.sleep(FRESH_S)
            steps = await said(client, "GET", "/v1/loop/events")
            assert [s["kind"] for s in steps][:5] == ["rolled_back", "promoted", "announced", "taught", "forgotten"]
    audit = (bench.settings.state / "logs" / "audit.log").read_text()
    assert audit.count('"operation":"teach_class"') == 4
    assert '"operation":"promote_model"' in audit


@pytest.mark.nightly
async def test_rejected_packets_go_back_over_http_and_the_stream_is_watched(bench: Bench) -> None:
    await bench.publish(simulated("sn-ia", 60))
    await bench.publish([b"not a packet", b"nor this"], topics.REJECTED, headers=[
        ("error_class", b"not_avro"), ("reason", b"no packet"), ("topic", b"alerts.ztf"), ("partition", b"0"), ("offset", b"7"),
        ("attempt", b"1"), ("size", b"12"), ("complete", b"true"),
    ])  # fmt: skip
    with serving(bench) as api:
        async with api.client() as client:
            await ready(client)
            client.timeout = httpx.Timeout(180)
            # Rejected packets are shown, and go back once.
            where = [m for m in (await bench.everything(topics.REJECTED))[topics.REJECTED]]  # noqa: C416 - records of the client
            place = f"{where[0].partition}/{where[0].offset}"
            found = await said(client, "GET", f"/v1/rejects/{place}")
            assert (found["error_class"], found["redriven"], found["origin"]) == ("not_avro", False, "alerts.ztf/0@7")
            assert (await client.get(f"/v1/rejects/{place}/packet")).content == where[0].value
            await said(client, "GET", "/v1/rejects/0/999999", 404)
            dry = await said(client, "POST", "/v1/rejects/redrive", json={"ids": [place], "dry_run": True})
            done = await said(client, "POST", "/v1/rejects/redrive", json={"ids": [place]})
            once = await said(client, "POST", "/v1/rejects/redrive", json={})
            assert [(d["sent"], d["before"]) for d in (dry, done, once)] == [(1, 0), (1, 0), (1, 1)]

            operations = await said(client, "GET", "/v1/operations")
            assert (operations["workers"], operations["lag_total"] > 60, operations["api_waiting"]) == ([], True, 0), operations
            assert await said(client, "GET", "/v1/sources") == []
            assert (await said(client, "GET", "/v1/drift"))["charts"] == []
            for _ in range(100):  # 503 while the process itself goes back to the former champion
                drawn = await client.get("/v1/projection?recent=20")
                if drawn.status_code == 200:
                    break
                await asyncio.sleep(0.3)
            assert 0 < len(drawn.json()["data"]["alerts"]) <= 20, drawn.text[:300]

            # Who may not see what is not public: no bytes of a rejected packet, all else the same.
            made = await said(client, "POST", "/v1/tokens", 201, json={"owner": "eve", "scopes": ["operate"]})
            async with api.client(made["key"]) as other:
                assert (await said(other, "GET", f"/v1/rejects/{place}"))["packet"] is None
                await said(other, "GET", f"/v1/rejects/{place}/packet", 404)
                await said(other, "DELETE", "/v1/classes/fast-blue", 403)
