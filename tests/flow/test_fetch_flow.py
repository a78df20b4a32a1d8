"""What `protonova fetch --publish` fetches arrives in the alert topics, packet by packet as the archive has them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from data.simulate.night import night
from schemas.surveys.decode import Decoder
from tests.data.archive_server import ArchiveServer, Step
from tests.data.test_broker_rows import alerts, rows

NIGHT = "ztf_public_20240617.tar.gz"


async def fetch(bench: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "console.cli", "fetch", *arguments, "--publish"],
        env={**os.environ, **bench.settings.environment()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.timeout(400)
async def test_a_fetched_night_arrives_whole_though_its_download_broke_off(bench: Any, tmp_path: Path) -> None:
    packets = [packet for packet, _ in night(31, 20, duplicates=0, broken=0)]
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for k, packet in enumerate(packets):
            info = tarfile.TarInfo(f"{k}.avro")
            info.size = len(packet)
            archive.addfile(info, io.BytesIO(packet))
    body = out.getvalue()
    with ArchiveServer({f"/{NIGHT}": body, "/MD5SUMS": f"{hashlib.md5(body).hexdigest()}  {NIGHT}\n".encode()}) as server:
        server.script[f"/{NIGHT}"].append(Step(cut=len(body) // 2))
        done = await fetch(bench, "ztf-nights", "20240617", "--from", server.url, "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "20 packets published" in done.stdout
    got = await bench.read(len(packets), "alerts.ztf")
    assert sorted(record.value for record in got["alerts.ztf"]) == sorted(packets)
    assert {dict(record.headers)["origin"].decode().partition("!")[0] for record in got["alerts.ztf"]} == {str(tmp_path / NIGHT)}


@pytest.mark.timeout(400)
async def test_a_brokers_object_arrives_as_its_alerts(bench: Any, tmp_path: Path) -> None:
    records = alerts()
    name = "ZTF21aaxtctv"
    answer = json.dumps(rows(records)).replace(records[0]["objectId"], name).encode()
    with ArchiveServer({"/api/v1/objects": answer}) as server:
        done = await fetch(bench, "fink", name, "--from", server.url, "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"{len(records)} packets published" in done.stdout
    got = await bench.read(len(records), "alerts.ztf")
    decoded = Decoder().decode([record.value for record in got["alerts.ztf"]])
    assert not decoded.rejected
    assert sorted(decoded.batch.candid) == sorted(record["candid"] for record in records)
