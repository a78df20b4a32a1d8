"""Resources of the past: what one may see, in pages, by the names that other brokers' clients use too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from data.history.portion import Origin
from data.history.sqlite_reader import SqliteReader
from data.simulate.night import night
from schemas.records.codec import decode_detection
from schemas.surveys.identity import packet_digest
from service.api.broker_facts import BrokerFacts
from service.api.history_access import mjd_of, utc_of
from service.api.problems import ProblemError
from settings.model import Settings
from tests.service.api_client import Api
from tests.service.past_night import DATE, Packets, alert, write

NEAR, FAR, HIDDEN, MIXED, RUBIN = "ZTF25near", "ZTF25far", "ZTF25hidden", "ZTF25mixed", "313888627133333333"


class Past(NamedTuple):
    api: Api
    packet: bytes
    real: int
    """Candid of the alert whose packet is there."""
    name: str
    """Its object."""


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    folder = tmp_path_factory.mktemp("past")
    packet, truth = next(iter(night(3, 3, duplicates=0, broken=0)))
    digest = packet_digest(packet)
    records = [
        *(alert(i, NEAR) for i in range(12)),
        *(alert(20 + i, FAR, ra=150.3, dec=20.2) for i in range(3)),
        *(alert(30 + i, HIDDEN, programid=2, ra=150.0001) for i in range(2)),
        *(alert(40 + i, MIXED, programid=1 + i % 2, ra=150.0005) for i in range(4)),
        *(alert(50 + i, RUBIN, survey="lsst", ra=150.0 + 1e-4) for i in range(2)),
        alert(60, truth.object_id, ra=10.0, candid=truth.candid, packet_id=f"ztf:{truth.candid}:{digest}"),
    ]
    writer = write(folder / "history", records, places={truth.candid: Origin("alerts.ztf", 1, 0)})
    reader = SqliteReader(folder / "history")
    facts = BrokerFacts(Settings(state=folder / "state"))
    yield Past(Api(folder, history=reader, packets=Packets(packet), facts=facts), packet, truth.candid, truth.object_id)
    reader.close()
    writer.close()


async def get(past: Past, path: str, *, private: bool = False, **parameters: Any) -> Any:
    """The answer's JSON, of one who may see what is private or not."""
    async with past.api.client(past.api.key("read", private=private)) as client:
        answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def status_of(past: Past, path: str, *, private: bool = False, **parameters: Any) -> int:
    async with past.api.client(past.api.key("read", private=private)) as client:
        return (await client.get(path, params=parameters)).status_code


async def test_an_object_and_all_that_belongs_to_it(past: Past) -> None:
    found = (await get(past, f"/v1/objects/{NEAR}"))["data"]
    assert (found["n"], found["ra"], found["class"], found["survey"]) == (12, 150.0, "agn", "ztf")
    assert found["first_utc"].startswith("2023-06-04T23:59:23")
    assert [o["object_id"] for o in found["counterparts"]] == [RUBIN]
    curve = (await get(past, f"/v1/objects/{NEAR}/lightcurve"))["data"]
    assert [p["mjd"] for p in curve] == sorted(p["mjd"] for p in curve)
    assert (curve[0]["flux"], curve[1]["flux"], curve[1]["alert"]) == (None, 101.0, "ztf:3000000000000000001")
    shares = (await get(past, f"/v1/objects/{NEAR}/probabilities", limit=2))["data"]
    assert [c["class"] for c in shares[0]["classes"]] == ["agn", "other"]
    near = (await get(past, f"/v1/objects/{NEAR}/neighbours", limit=3))["data"]
    assert near[0]["cosine"] >= near[1]["cosine"]
    assert HIDDEN not in {n["object_id"] for n in near}


async def test_pages_of_detections_hold_each_once(past: Past) -> None:
    found: list[str] = []
    cursor = None
    while True:
        page = await get(past, f"/v1/objects/{NEAR}/detections", limit=5, **({"cursor": cursor} if cursor else {}))
        found += [row["candid"] for row in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == [str(3_000_000_000_000_000_000 + i) for i in range(11, -1, -1)]
    assert page["data"][0]["record"]["candid"] == page["data"][0]["candid"]


@pytest.mark.parametrize("part", ["", "/lightcurve", "/detections", "/probabilities", "/neighbours", "/cutouts/science.png"])
async def test_what_one_may_not_see_is_not_there(past: Past, part: str) -> None:
    assert await status_of(past, f"/v1/objects/{HIDDEN}{part}") == await status_of(past, f"/v1/objects/nothing{part}") == 404
    if "cutouts" not in part:
        assert await status_of(past, f"/v1/objects/{HIDDEN}{part}", private=True) == 200


async def test_rights_hold_in_every_page_and_sum(past: Past) -> None:
    assert (await get(past, f"/v1/objects/{MIXED}"))["data"]["n"] == 2
    assert (await get(past, f"/v1/objects/{MIXED}", private=True))["data"]["n"] == 4
    for private in (False, True):
        seen = {HIDDEN in json.dumps(await get(past, path, private=private, **q)) for path, q in (
            ("/v1/alerts", {"limit": 100}), ("/v1/cone", {"ra": 150, "dec": 20, "radius": 60}),
        )}  # fmt: skip
        assert seen == {private}
        manifest = (await get(past, "/v1/bulk", private=private, night=DATE))["data"]
        assert manifest["rows"] == (22 if private else 18)  # Rubin's night is the one before
        async with past.api.client(past.api.key("read", private=private)) as client:
            body = await client.post("/v1/objects/query", json={"object_ids": [HIDDEN, NEAR]})
            forms = [await client.post("/api/object/", data={"objectId": HIDDEN}), await client.get(f"/ztf/v1/objects/{HIDDEN}")]
        assert [o["object_id"] for o in body.json()["data"]] == ([HIDDEN, NEAR] if private else [NEAR])
        assert {f.status_code for f in forms} == {200 if private else 404}


async def test_an_alert_its_record_and_its_packet(past: Past) -> None:
    found = (await get(past, f"/v1/alerts/ztf:{past.real}"))["data"]
    assert found["candid"] == str(past.real)
    assert found["record"]["packet_id"] == found["packet_id"] == found["revisions"][0]
    async with past.api.client(past.api.key("read")) as client:
        packet = await client.get(f"/v1/alerts/ztf:{past.real}/packet")
        assert packet.content == past.packet
        gone = await client.get("/v1/alerts/ztf:3000000000000000001/packet")
        assert (gone.status_code, "has left its topic" in gone.json()["detail"]) == (404, True)
        for wrong in ("ztf:1", "ztf:99999999999999999999", "ztf:x", "atlas:1", f"lsst:{past.real}"):
            assert (await client.get(f"/v1/alerts/{wrong}")).status_code == 404, wrong
    listed = (await get(past, "/v1/alerts", limit=3))["data"]
    assert listed[0]["mjd"] >= listed[1]["mjd"] >= listed[2]["mjd"]
    assert set(listed[0]) < set(found)


async def test_alerts_by_class_and_time(past: Past) -> None:
    for time, expected in (("detected", {NEAR, FAR, MIXED, RUBIN, past.name}), ("first_detected", {FAR, MIXED, RUBIN, past.name})):
        rows = (await get(past, "/v1/alerts", since="60101.05", until="2023-06-11T12:00:00", time=time, limit=100))["data"]
        assert {r["object_id"] for r in rows} == expected, time
    rows = (await get(past, "/v1/alerts", **{"class": "tde", "published": True, "limit": 100}))["data"]
    assert rows
    assert all(r["class"] == "tde" and r["published"] and r["prior_probability"] >= 0.6 for r in rows)
    assert await status_of(past, "/v1/alerts", since="yesterday") == 422
    assert await status_of(past, "/v1/alerts", since="nan") == 422


async def test_cones_of_one_place_and_of_many(past: Past) -> None:
    rows = (await get(past, "/v1/cone", ra=150.0, dec=20.0, radius=5))["data"]
    assert [r["object_id"] for r in rows] == [NEAR, RUBIN, MIXED]
    assert rows[0]["separation"] == 0
    assert rows[2]["separation"] == pytest.approx(0.0005 * 3600 * np.cos(np.radians(20)), rel=1e-4)
    async with past.api.client(past.api.key("read")) as client:
        places = [{"name": f"p{i}", "ra": 150.0 + i % 2, "dec": 20.0} for i in range(1000)]
        answer = await client.post("/v1/cone", json={"positions": places, "radius": 2})
        assert [len(c["objects"]) for c in answer.json()["data"]] == [3, 0] * 500
        assert (await client.post("/v1/cone", json={"positions": [*places, places[0]]})).status_code == 422
        assert (await client.get("/v1/cone", params={"ra": 360, "dec": 0, "radius": 1})).status_code == 422
        table = await client.get("/v1/cone", params={"ra": 150, "dec": 20, "radius": 5, "format": "csv"})
        assert table.text.splitlines()[0].startswith("object_id,survey,ra,dec,n")


@pytest.mark.parametrize("kind", ["science", "template", "difference"])
async def test_cut_outs_are_the_packets(past: Past, kind: str) -> None:
    name = past.name
    async with past.api.client(past.api.key("read")) as client:
        fits = await client.get(f"/v1/objects/{name}/cutouts/{kind}.fits")
        png = await client.get(f"/v1/objects/{name}/cutouts/{kind}.png", params={"candid": str(past.real)})
        other = await client.get(f"/v1/objects/{name}/cutouts/{kind}.png", params={"candid": "5"})
    assert fits.content.startswith(b"SIMPLE  =")
    astropy = pytest.importorskip("astropy.io.fits")
    import io

    from PIL import Image

    image = astropy.open(io.BytesIO(fits.content))[0].data
    drawn = Image.open(io.BytesIO(png.content))
    assert drawn.size == image.shape[::-1] == (63, 63)
    at = np.unravel_index(np.nanargmax(image), image.shape)
    assert np.asarray(drawn)[62 - at[0], at[1], 0] == 255
    assert other.status_code == 404


async def test_a_night_at_once_in_parts_that_resume(past: Past) -> None:
    manifest = (await get(past, "/v1/bulk", night=DATE, records="avro"))["data"]
    [part] = manifest["parts"]
    async with past.api.client(past.api.key("read")) as client:
        whole = await client.get(part["href"])
        assert hashlib.sha256(whole.content).hexdigest() == part["sha256"]
        rest = await client.get(part["href"], headers={"Range": "bytes=100-", "If-Range": whole.headers["etag"]})
        assert (rest.status_code, rest.content) == (206, whole.content[100:])
        changed = await client.get(part["href"], headers={"Range": "bytes=100-", "If-Range": '"other"'})
        assert (changed.status_code, changed.content) == (200, whole.content)
        lines = await client.get((await get(past, "/v1/bulk", night=DATE))["data"]["parts"][0]["href"])
        assert (await client.get("/v1/bulk/2025-13-01/1-2.avro")).status_code == 404
        assert (await client.get("/v1/bulk", params={"night": "2025-02-30"})).status_code == 422
    found, at = [], 0
    while at < len(whole.content):
        size = int.from_bytes(whole.content[at : at + 4], "big")
        found.append(decode_detection(whole.content[at + 4 : at + 4 + size]))
        at += 4 + size
    assert len(found) == part["rows"] == int(whole.headers["rows"]) == len(lines.content.splitlines())
    assert [decode_detection(line).candid for line in lines.content.splitlines()] == [d.candid for d in found]


async def test_classes_and_models(past: Past) -> None:
    classes = (await get(past, "/v1/classes"))["data"]
    tde = next(c for c in classes if c["name"] == "tde")
    assert (tde["taught"], tde["alerce"], tde["topic"]) == (False, "TDE", "detections.tde")
    [bundle] = (await get(past, "/v1/models"))["data"]
    assert bundle["sha256"].startswith(bundle["model"])


async def test_lasairs_calls(past: Past) -> None:
    async with past.api.client() as client:
        client.headers["Authorization"] = f"Token {past.api.key('read')}"
        place = {"ra": "150.0", "dec": "20.0", "radius": "5"}
        everything = (await client.post("/api/cone/", data={**place, "requestType": "all"})).json()
        assert [row["object"] for row in everything] == [NEAR, RUBIN, MIXED]
        assert (await client.post("/api/cone/", data={**place, "requestType": "nearest"})).json()["nearest"]["object"] == NEAR
        assert (await client.post("/api/cone/", data={**place, "requestType": "count"})).json() == {"count": 3}
        curve = (await client.post("/api/object/", data={"objectId": NEAR})).json()
        assert len(curve["candidates"]) == curve["objectData"]["ncand"] == 12
        query = {"selected": "objectId, objects.ncand", "tables": "objects", "conditions": "ncand > 2 AND survey = 'ztf'", "limit": "10"}
        assert (await client.post("/api/query/", data=query)).json() == [{"objectId": FAR, "ncand": 3}, {"objectId": NEAR, "ncand": 12}]
        for wrong in (
            {"tables": "objects, users"}, {"selected": "password"}, {"conditions": "1=1; DROP TABLE alerts"},
            {"conditions": "ncand > 'x'"}, {"limit": "100000"},
        ):  # fmt: skip
            assert (await client.post("/api/query/", data={**query, **wrong})).status_code == 400, wrong
        assert (await client.post("/api/cone/", data={"ra": "x"})).status_code == 400
    assert (await get(past, f"/v1/objects/{NEAR}"))["data"]["n"] == 12


async def test_alerces_calls(past: Past) -> None:
    found = await get(past, "/ztf/v1/objects", **{"class": "AGN", "page_size": 1, "ndet": [1, 20]})
    assert [(o["oid"], o["class"], o["ndet"]) for o in found["items"]] == [(NEAR, "agn", 12)]
    pages = [await get(past, "/ztf/v1/objects", page_size=2, page=n) for n in (1, 2)]
    assert [len(p["items"]) for p in pages] == [2, 2]
    assert [p["has_next"] for p in pages] == [True, False]
    cone = await get(past, "/ztf/v1/objects", ra=150.0, dec=20.0, radius=5)
    assert [o["oid"] for o in cone["items"]] == [NEAR, MIXED]
    curve = await get(past, f"/ztf/v1/objects/{NEAR}/lightcurve")
    first, second = curve["detections"][:2]
    assert (first["magpsf"], second["isdiffpos"], second["fid"]) == (None, 1, 2)
    assert second["magpsf"] == pytest.approx(23.9 - 2.5 * np.log10(101))
    assert second["sigmapsf"] == pytest.approx(1.0857 * 4 / 101, rel=1e-4)
    shares = await get(past, f"/ztf/v1/objects/{NEAR}/probabilities")
    assert [s["ranking"] for s in shares] == [1, 2]
    assert await status_of(past, "/ztf/v1/objects", ra=150.0) == 400


def test_times_both_ways() -> None:
    assert utc_of(60_000.0) == "2023-02-24T23:59:23.000Z"
    for mjd in (41_500.5, 57_753.9, 57_754.1, 61_000.25):
        text = utc_of(mjd)
        assert text is not None
        found = mjd_of(text, "since")
        assert found == pytest.approx(mjd, abs=2e-8)
    assert mjd_of("2023-02-24T23:59:23+00:00", "since") == pytest.approx(60_000.0)
    for wrong in ("inf", "1e9", "tomorrow", ""):
        with pytest.raises(ProblemError):
            mjd_of(wrong, "since")
    assert utc_of(float("nan")) is None
