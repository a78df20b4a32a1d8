"""Whatever lies under a path comes out: as packets, or as skipped with a reason."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.connectors.archives import Packet, Skipped, packets_of
from data.simulate.night import night
from schemas.avro.container import encode_ztf
from schemas.surveys.decode import Decoder


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in night(9, 3, duplicates=0, broken=0)]


def _tar(members: dict[str, bytes], mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _stdin(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[Packet | Skipped]:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    return list(packets_of(["-"]))


def test_a_folder_gives_its_packets_in_order_and_says_what_else_it_holds(tmp_path: Path, packets: list[bytes]) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.avro").write_bytes(packets[1])
    (tmp_path / "a.bin").write_bytes(packets[0])  # recognised by content
    (tmp_path / "deep" / "c").write_bytes(packets[2])
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n")
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "schema.avsc").write_text('{"type": "record"}')
    (tmp_path / "empty.avro").write_bytes(b"")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    items = list(packets_of([tmp_path]))
    assert [i.packet for i in items if isinstance(i, Packet)] == packets
    kinds = {i.kind for i in items if isinstance(i, Skipped)}
    assert kinds == {"CSV table", "JSON", "Avro schema", "empty file", "NumPy array", "missing", "link to a folder"}
    assert all(i.reason for i in items if isinstance(i, Skipped))


def test_missing_and_unreadable_paths_are_lines_not_errors(tmp_path: Path, packets: list[bytes]) -> None:
    good = tmp_path / "good"
    good.write_bytes(packets[0])
    items = list(packets_of([tmp_path / "none", good]))
    assert isinstance(items[0], Skipped)
    assert items[0].kind == "missing"
    assert items[1] == Packet(str(good), packets[0])


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_are_streams(mode: str, packets: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _tar({"1.avro": packets[0], "read.me": b"hello", "2.avro": packets[1]}, mode)
    path = tmp_path / "night"
    path.write_bytes(data)
    for items in (list(packets_of([path])), _stdin(data, monkeypatch)):
        assert [i.packet for i in items if isinstance(i, Packet)] == packets[:2]
        assert [i.kind for i in items if isinstance(i, Skipped)] == ["text"]
    assert next(iter(packets_of([path]))).origin == f"{path}!1.avro"


def test_a_damaged_archive_gives_what_it_can(packets: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "night.tar"
    path.write_bytes(_tar({"1.avro": packets[0], "2.avro": packets[1]}, "w:")[: len(packets[0]) + 5000])
    items = list(packets_of([path]))
    assert items[0] == Packet(f"{path}!1.avro", packets[0])
    assert [i.kind for i in items[1:] if isinstance(i, Skipped)] == ["damaged archive"]


def test_stdin_is_one_packet_or_an_archive(packets: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _stdin(packets[0], monkeypatch) == [Packet("stdin", packets[0])]
    (nothing,) = _stdin(b"", monkeypatch)
    assert isinstance(nothing, Skipped)


def test_a_column_of_packets(packets: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "night.parquet"
    pq.write_table(pa.table({"offset": [1, 2, 3, 4], "value": [*packets, b"nothing of the kind"]}), path)
    items = list(packets_of([path]))
    assert [i.packet for i in items if isinstance(i, Packet)] == packets
    assert [i.kind for i in items if isinstance(i, Skipped)] == ["unusable row"]
    other = tmp_path / "curves.parquet"
    pq.write_table(pa.table({"mjd": [1.0]}), other)
    (skipped,) = packets_of([other])
    assert isinstance(skipped, Skipped)
    assert skipped.kind == "parquet table"


def test_rows_of_alerts_become_packets_that_decode_the_same(packets: list[bytes], tmp_path: Path) -> None:
    rows = [next(fastavro.reader(io.BytesIO(packet))) for packet in packets]
    for row in rows:  # as Fink keeps them, with the broker's own columns beside the survey's
        row.pop("fp_hists")
        row["finkclass"] = "Unknown"
        row["prv_candidates"] = row["prv_candidates"] or [{**row["candidate"], "jd": row["candidate"]["jd"] - 3}]
    path = tmp_path / "fink.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    items = list(packets_of([path]))
    assert all(isinstance(i, Packet) for i in items), items
    again = Decoder().decode([i.packet for i in items if isinstance(i, Packet)]).batch
    first = Decoder().decode(packets).batch
    assert again.candid == first.candid
    np.testing.assert_allclose(again.context, first.context, rtol=1e-5)
    np.testing.assert_array_equal(again.stamps, first.stamps)


def test_a_container_of_several_alerts_is_split(packets: list[bytes], tmp_path: Path) -> None:
    reader = fastavro.reader(io.BytesIO(packets[0]))
    rows = [next(fastavro.reader(io.BytesIO(packet))) for packet in packets]
    path = tmp_path / "many.avro"
    with path.open("wb") as file:
        fastavro.writer(file, reader.writer_schema, rows, codec="deflate")  # type: ignore[arg-type]
    items = list(packets_of([path]))
    assert len(items) == 3
    batch = Decoder().decode([i.packet for i in items if isinstance(i, Packet)]).batch
    assert batch.candid == tuple(row["candid"] for row in rows)


def test_a_broken_container_is_left_to_the_decoder(packets: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "short.avro"
    path.write_bytes(packets[0][:20_000])
    assert list(packets_of([path])) == [Packet(str(path), packets[0][:20_000])]


def test_what_is_too_large_is_said(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"\x00" * 8_100_000)
    (item,) = packets_of([path])
    assert isinstance(item, Skipped)
    assert item.kind == "too large"


def test_a_plain_gzip_file_is_not_a_archive(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" * 10_000))
    (item,) = packets_of([path])
    assert isinstance(item, Skipped)
    assert item.kind == "gzip file"


def test_every_real_file_comes_out(shared: Path) -> None:
    items = list(packets_of([shared / "ztf_alerts", shared / "lsst_alerts"]))
    found = [i for i in items if isinstance(i, Packet)]
    files = [*(shared / "ztf_alerts").rglob("*.avro"), *(shared / "lsst_alerts").rglob("*.avro")]
    singles = {i.origin for i in found if "#" not in i.origin}
    assert {str(p) for p in files} <= singles
    rows = [i for i in found if "fink-science" in i.origin and ".parquet#" in i.origin]
    assert len(rows) == 223
    decoded = Decoder().decode([i.packet for i in rows])
    assert [str(error) for _, error in decoded.rejected] == []


def test_the_compiled_writer_writes_what_fastavro_writes(packets: list[bytes]) -> None:
    for packet in packets:
        reader = fastavro.reader(io.BytesIO(packet))
        record = next(reader)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(reader.writer_schema), record)  # type: ignore[arg-type]
        assert body.getvalue() in packet
        assert encode_ztf(record) == packet
