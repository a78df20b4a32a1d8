"""A change of a compiled helper reaches its callers in other files, although their machine code is kept on disk."""

from __future__ import annotations

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_lib"))

import shutil
import subprocess

from case import PROJECT, SCRATCH, cannot, check, done, os, ztf_packets

COPY = SCRATCH / "copy"
COPY.mkdir()
for folder in ("schemas", "operators"):
    shutil.copytree(PROJECT / folder, COPY / folder, ignore=shutil.ignore_patterns("__pycache__"))
packet = SCRATCH / "packet.avro"
packet.write_bytes(ztf_packets(1)[0])
PROGRAM = """
import pathlib, sys
from schemas.surveys import times
from schemas.surveys.decode import Decoder
packet = pathlib.Path(sys.argv[1]).read_bytes()
print(times.__file__, repr(float(Decoder().decode([packet]).batch.mjd[0])))
"""


def mjd() -> float:
    """What a new process of the copy says of the packet."""
    where = {**os.environ, "PYTHONPATH": str(COPY)}
    ran = subprocess.run([os.sys.executable, "-c", PROGRAM, str(packet)], cwd=SCRATCH, env=where, capture_output=True, text=True)
    if ran.returncode or not ran.stdout.startswith(str(COPY)):
        cannot(f"the copy does not run: {(ran.stderr or ran.stdout).strip().splitlines()[-1][:200]}")
    return float(ran.stdout.split()[-1])


before = mjd()
check("control: a second process, from the disk", mjd(), before)
times = COPY / "schemas" / "surveys" / "times.py"
if "def utc_to_tai" not in times.read_text():
    cannot("schemas/times.py has no utc_to_tai any more: change another compiled helper here")
with times.open("a") as file:  # an upgrade in place, or a developer's change: the same helper, a day later
    file.write("\n\n@compiled\ndef utc_to_tai(mjd):\n    return mjd + 1.0 + 37.0 / 86400.0\n")
after = mjd()
check("mjd after times.py was changed by a day", f"{after - before:+.3f} d", "+1.000 d", abs(after - before - 1.0) < 0.01)
done()
