"""A packet that lies gzipped on disk is a packet."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import gzip
import io
import tarfile

from case import SCRATCH, check, command, done, lines, ztf_packets

from data.connectors.archives import Skipped, packets_of

PACKETS = ztf_packets(2)


def read(path: str) -> str:
    items = list(packets_of([path]))
    same = [item.packet for item in items if not isinstance(item, Skipped)]
    return f"{len(same)} read{'' if all(p in PACKETS for p in same) else ', changed'}" + "".join(f"; skipped: {i.reason}" for i in items if isinstance(i, Skipped))


def file(name: str, data: bytes) -> str:
    (SCRATCH / name).write_bytes(data)
    return str(SCRATCH / name)


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


check("control: a.avro", read(file("a.avro", PACKETS[0])), "1 read")
check("control: a.tar.gz of two", read(file("a.tar.gz", tar({"1.avro": PACKETS[0], "2.avro": PACKETS[1]}))), "2 read")
check("a.avro.gz", read(file("a.avro.gz", gzip.compress(PACKETS[0]))), "1 read")
inside = {f"{k}.avro.gz": gzip.compress(p) for k, p in enumerate(PACKETS)}
check("a tar of two .avro.gz (as ELAsTiCC is kept)", read(file("a.tar", tar(inside, "w"))), "2 read")
bomb = read(file("bomb.avro.gz", gzip.compress(PACKETS[0][:4] + bytes(200_000_000), 9)))
check("control: a gzip of 200 MB is not a packet", bomb, "0 read, with a reason", bomb.startswith("0 read; skipped"))
ran = command("replay", str(SCRATCH / "a.avro.gz"), "--out", str(SCRATCH / "o.parquet"))
check("replay a.avro.gz", (ran.status, lines(ran)[:1]), "status 0, 1 packets = 1 detections …", ran.status == 0)
done()
