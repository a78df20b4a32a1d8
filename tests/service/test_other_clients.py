"""Clients of other brokers, as their packages are, against a running API: set to our address, they read our history."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from data.history.sqlite_reader import SqliteReader
from tests.service.api_client import Api
from tests.service.past_night import alert, write


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Of an API with two objects of ten alerts each, and a key."""
    writer = write(tmp_path / "history", [alert(i, f"ZTF25{'ab'[i % 2]}", ra=150.0 + i % 2 / 100) for i in range(20)])
    reader = SqliteReader(tmp_path / "history")
    api = Api(tmp_path, history=reader)
    server = uvicorn.Server(uvicorn.Config(api.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", api.key("read")
    server.should_exit = True
    thread.join()
    reader.close()
    writer.close()


def read_by_lasair(address: str, key: str, *, ra: float, dec: float) -> None:
    """A cone, an object with its light curve, a query and a refused key, by the package `lasair`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lasair import LasairError, lasair_client
    client = lasair_client(key, endpoint=f"{address}/api")
    cone = client.cone(ra, dec, radius=2)
    assert cone
    assert {row["separation"] for row in cone} == {0.0}
    assert client.cone(ra, dec, radius=2, requestType="count") == {"count": len(cone)}
    assert client.cone(ra, dec, radius=2, requestType="nearest") == {"nearest": cone[0]}
    curve = client.object(cone[0]["object"])
    assert len(curve["candidates"]) == curve["objectData"]["ncand"] > 0
    assert all(c["flux_uJy"] is None or c["flux_uJy"] > 0 for c in curve["candidates"])
    rows = client.query("objectId, ncand", "objects", f"objectId = '{cone[0]['object']}' AND ncand >= 1", limit=100)
    assert rows == [{"objectId": cone[0]["object"], "ncand": curve["objectData"]["ncand"]}]
    with pytest.raises(LasairError, match="Unauthorized"):
        lasair_client("pn_wrong", endpoint=f"{address}/api").cone(ra, dec)


def test_lasairs_client_reads_a_cone_an_object_and_a_query(address: tuple[str, str]) -> None:
    read_by_lasair(*address, ra=150.0, dec=20.0)


def read_by_alerce(address: str, key: str, *, configuration: Path) -> dict[str, int]:
    """Objects with their number of detections by the package `alerce`, a light curve, a cone; `ALERCE_CONFIG_PATH` is the file."""
    found_at = importlib.util.find_spec("alerce")  # it reads its configuration when it is imported
    if found_at is None or found_at.origin is None:
        pytest.skip("alerce is not installed")
    settings = json.loads((Path(found_at.origin).parent / "default_config.json").read_text())
    settings["ztf"]["ZTF_API_URL"] = address
    configuration.write_text(json.dumps(settings))
    from alerce.core import Alerce

    client = Alerce()
    client.legacy_ztf_client.session.headers["Authorization"] = f"Bearer {key}"
    every = client.query_objects(survey="ztf", format="pandas", page_size=50)
    found = dict(zip(every["oid"], map(int, every["ndet"]), strict=True))
    name = sorted(found)[0]
    curve = client.query_lightcurve(name, survey="ztf", format="json")
    one = client.query_object(name, survey="ztf", format="json")
    assert len(curve["detections"]) == one["ndet"] == found[name]
    near = client.query_objects(survey="ztf", format="json", ra=one["meanra"], dec=one["meandec"], radius=5)
    assert name in [o["oid"] for o in near["items"]]
    shares = client.query_probabilities(name, survey="ztf", format="pandas")
    assert shares["probability"].sum() == pytest.approx(1.0, abs=1e-5)
    return found


@pytest.mark.slow
def test_alerces_client_reads_objects_a_cone_and_a_light_curve(
    address: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERCE_CONFIG_PATH", str(tmp_path / "alerce.json"))
    assert read_by_alerce(*address, configuration=tmp_path / "alerce.json") == {"ZTF25a": 10, "ZTF25b": 10}
    from alerce.core import Alerce

    client = Alerce()
    client.legacy_ztf_client.session.headers["Authorization"] = f"Bearer {address[1]}"
    found = client.query_objects(survey="ztf", format="pandas", class_name="SNIa", ndet=[2, 50])
    assert list(found["oid"]) == ["ZTF25b"]
    near = client.query_objects(survey="ztf", format="json", ra=150.0, dec=20.0, radius=5)
    assert [o["oid"] for o in near["items"]] == ["ZTF25a"]
