"""What the cases share: where the project is, packets to begin with, a broker, and how right and wrong are told.

A case imports this module, says what it got and what is right, and ends by `done()`: exit status 0 right, 1 wrong, 3 it could not be run.
The project is found by the environment variable PROTONOVA, else it is the checkout this file lies in, else the
current directory. Where the Python that runs this lacks the project's packages, the project's own ``.venv`` takes over.
Everything a case writes goes to a temporary folder, which is removed at its end.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

HERE = Path(__file__).resolve().parent
CANNOT = 3


def cannot(why: str) -> None:
    """The case cannot be run here: neither right nor wrong."""
    print(f"cannot run: {why}", flush=True)
    sys.exit(CANNOT)


def _find() -> Path:
    named = os.environ.get("PROTONOVA")
    places = [Path(named)] if named else [HERE.parents[2], Path.cwd()]
    for place in places:
        if (place / "pipeline" / "score.py").is_file():
            return place.resolve()
    print("cannot run: no checkout of the project; set PROTONOVA=folder", flush=True)
    sys.exit(CANNOT)


PROJECT = _find()
PYTHON = PROJECT / ".venv" / "bin" / "python"
os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
try:
    import aiokafka  # noqa: F401
    import fastavro
    import numpy  # noqa: F401
    import pyarrow  # noqa: F401
except ImportError:
    if not PYTHON.is_file() or os.environ.get("H_CASES_AGAIN"):
        cannot("the project's packages are not installed (make in the project installs them)")
    os.environ["H_CASES_AGAIN"] = "1"
    os.execv(str(PYTHON), [str(PYTHON), *sys.argv])
sys.path.insert(0, str(PROJECT))
for _name in [n for n in os.environ if n.startswith("PROTONOVA_") and n != "PROTONOVA_BUNDLE"]:
    del os.environ[_name]  # a user's own settings must not change what a case shows

SCRATCH = Path(tempfile.mkdtemp(prefix="h-case-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(CANNOT))  # so that what was started is ended

# --- right or wrong

_wrong: list[str] = []
_told = 0


def check(what: str, got: Any, right: Any, ok: bool | None = None) -> bool:
    """Print what came out beside what is right; `ok` where equality does not say it."""
    global _told
    good = (got == right) if ok is None else bool(ok)
    _told += 1
    if not good:
        _wrong.append(what)
    print(f"{'ok   ' if good else 'WRONG'} {what}\n      got   {got}\n      right {right}", flush=True)
    return good


def close(got: Any, right: float | None, relative: float = 1e-4) -> bool:
    """Whether a number is what it should be; None is only None."""
    if got is None or right is None:
        return got is None and right is None
    return abs(float(got) - right) <= relative * abs(right)


def done() -> None:
    """The end of a case."""
    if not _told:
        cannot("nothing was checked")
    print(f"{'FAIL' if _wrong else 'PASS'}: {_told - len(_wrong)} of {_told} right" + (f"; wrong: {'; '.join(_wrong)}" if _wrong else ""))
    sys.stdout.flush()
    sys.exit(1 if _wrong else 0)


# --- packets


def ztf_records(n: int, seed: int = 7) -> list[dict[str, Any]]:
    """n simulated ZTF alerts as plain records, to be changed and encoded again."""
    from data.simulate.night import night

    return [read_container(packet) for packet, _ in night(seed, n, doubles=0, broken=0)]


def ztf_packets(n: int, seed: int = 7) -> list[bytes]:
    """n simulated ZTF alerts."""
    from data.simulate.night import night

    return [packet for packet, _ in night(seed, n, doubles=0, broken=0)]


def read_container(packet: bytes) -> dict[str, Any]:
    """The one record of a container."""
    return dict(next(iter(fastavro.reader(io.BytesIO(packet)))))


def encode_ztf(record: dict[str, Any]) -> bytes:
    from schemas.avro.container import encode_ztf as encode

    return encode(record)


def rubin_schema(version: int = 900) -> dict[str, Any]:
    """Rubin's published alert schema of that version (names and types), as the project ships it."""
    return json.loads((PROJECT / "schemas" / "surveys" / "rubin" / f"{version}.json").read_text())


def _least(kind: Any, named: dict[str, Any]) -> Any:
    """A value of a type: null where it may be, else nothing or 0."""
    if isinstance(kind, list):
        return None if "null" in kind else _least(kind[0], named)
    if isinstance(kind, str):
        if kind in named:
            return _least(named[kind], named)
        return {"string": "", "bytes": b"", "boolean": False, "float": 0.0, "double": 0.0, "null": None}.get(kind, 0)
    if kind["type"] == "record":
        named[kind["name"]] = kind
        return {field["name"]: _least(field["type"], named) for field in kind["fields"]}
    if kind["type"] == "array":
        return []
    return _least(kind["type"], named)


def _named(schema: Any, short: str) -> Any:
    """The record type of a (short) name, wherever it is defined."""
    if isinstance(schema, list):
        return next((found for branch in schema if (found := _named(branch, short))), None)
    if isinstance(schema, dict):
        if "fields" in schema and schema.get("name", "").rpartition(".")[2] == short:
            return schema
        parts = [schema.get("items"), schema.get("type")] + [field["type"] for field in schema.get("fields", ())]
        return next((found for part in parts if part is not None and (found := _named(part, short))), None)
    return None


def rubin_record(
    points: int = 20, version: int = 900, mjd: float = 61_000.25, kind: str = "prvDiaSources", step: float = 1.5, bands: str = "gri"
) -> dict[str, Any]:
    """A Rubin alert: a source that rises over `points` visits `step` days apart, the last of them the alert itself. Fluxes in nJy."""
    schema = rubin_schema(version)
    record = _least(schema, {})
    source = _named(schema, "diaSource")
    forced = _named(schema, "diaForcedSource")
    number = 3_087_421_976_539_410_451  # above 2^53: a double cannot hold it

    def one(template: Any, k: int) -> dict[str, Any]:
        row = _least(template, {})
        row.update(
            {"midpointMjdTai": mjd - step * (points - 1 - k), "ra": 150.1, "dec": 2.2, "band": bands[k % len(bands)], "visit": 5_000 + k,
             "psfFlux": 900.0 + 140.0 * k, "psfFluxErr": 60.0}
        )  # fmt: skip
        row[next(name for name in ("diaForcedSourceId", "diaSourceId") if name in row)] = number - 11 * (points - 1 - k)
        if "diaObjectId" in row:
            row["diaObjectId"] = number + 4_242
        return row

    own = one(source, points - 1)
    own |= {"snr": 9.0, "reliability": 0.93, "extendedness": 0.1}
    record["diaSource"] = own
    if "diaSourceId" in record:
        record["diaSourceId"] = own["diaSourceId"]
    if "alertId" in record:
        record["alertId"] = own["diaSourceId"]
    record[kind] = [one(forced if "Forced" in kind else source, k) for k in range(points - 1)]
    return record


def rubin_part(short: str, version: int = 900) -> dict[str, Any]:
    """The least record of one of the schema's types (diaObject, ssSource, diaForcedSource …)."""
    return dict(_least(_named(rubin_schema(version), short), {}))


def encode_rubin(record: dict[str, Any], version: int = 900) -> bytes:
    from schemas.avro.container import encode_rubin as encode
    from schemas.avro.schema_store import SchemaStore

    return encode(record, version, SchemaStore())


# --- the product's functions

_states: dict[Any, Any] = {}


def state(store: Any = None) -> Any:
    """The model that ships, on the CPU."""
    if id(store) not in _states:
        from pipeline.state import load

        _states[id(store)] = load(None, "onnxruntime", store)
    return _states[id(store)]


def score(packets: Sequence[bytes], store: Any = None) -> list[Any]:
    """`pipeline.score.score`: a detection or a rejection for each packet."""
    from pipeline.score import score as run

    return run(list(packets), state(store))


def rejected(outcome: Any) -> str | None:
    """Why a packet was rejected; None: it was scored."""
    return f"rejected {outcome.error_class}: {outcome.reason}" if hasattr(outcome, "error_class") else None


def command(*arguments: str, folder: Path | None = None, seconds: float = 120.0, environment: dict[str, str] | None = None) -> Any:
    """The `protonova` command in a folder of its own: status, out, err; status None: it had to be ended."""
    folder = folder or Path(tempfile.mkdtemp(dir=SCRATCH))
    program = "import sys; sys.argv[0] = 'protonova'; from console.cli import main; main()"
    where = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "200", "NO_COLOR": "1", **(environment or {})}
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=seconds)
        status: int | None = child.returncode
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        status = None
    return type("Ran", (), {"status": status, "out": out, "err": err, "folder": folder})()


def lines(ran: Any) -> list[str]:
    """Every line a command printed, on either stream."""
    return [line for line in (ran.out + ran.err).splitlines() if line.strip()]


def bounded(body: str, seconds: float = 15.0, megabytes: int = 3000) -> str:
    """Run a little program beside us, with bounds on time and memory, and tell its last line or how it ended."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20, {megabytes} << 20))\n"
    child = subprocess.Popen(
        [sys.executable, "-c", limit + body], cwd=SCRATCH, env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"does not end (ended by us after {seconds:.0f} s)"
    said = [line for line in (out if child.returncode == 0 else err or out).splitlines() if line.strip()]
    last = said[-1][:160] if said else "nothing said"
    return last if child.returncode == 0 else f"exit status {child.returncode}: {last}"


# --- a broker


@contextmanager
def broker() -> Iterator[Any]:
    """Settings of a fresh Kafka node of the product's own, its topics declared."""
    import asyncio

    from console.kafka_node.node import LocalKafka
    from errors import UserError
    from settings.model import Settings
    from streams.kafka import topics

    node = LocalKafka()
    try:
        folder = Path(tempfile.mkdtemp(prefix="broker-", dir=SCRATCH))
        node.start(folder)
    except UserError as error:
        cannot(str(error))
    try:
        settings = Settings(kafka=node.bootstrap, state=folder / "state", partitions=2)
        settings.state.mkdir(parents=True, exist_ok=True)
        asyncio.run(topics.declare(settings, classes()))
        yield settings
    finally:
        node.stop()


def classes() -> Sequence[str]:
    """The classes that have a topic."""
    return tuple(state().classes)


class Worker:
    """`protonova worker` beside us, started again when it ends, as the product's supervisor does (if `again`)."""

    def __init__(self, settings: Any, again: bool = False) -> None:
        self.settings, self.again = settings, again
        self.ready_file = settings.state / "run" / "worker-0.json"
        self.log_file = settings.state / "worker.log"
        self.ends: list[int] = []
        """Exit statuses of those that ended by themselves."""
        self._counted: Any = None
        self._log = self.log_file.open("a")
        self._start()
        atexit.register(self.stop)

    def _start(self) -> None:
        self.ready_file.unlink(missing_ok=True)
        program = "import sys; sys.argv[0] = 'protonova'; from console.cli import main; main()"
        where = {**os.environ, "PYTHONPATH": str(PROJECT), **self.settings.environment(), "PROTONOVA_ENGINE": "onnxruntime"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", program, "worker"], cwd=self.settings.state, env=where, stdout=self._log, stderr=self._log
        )

    def look(self) -> None:
        """Start it again where it has ended."""
        status = self.child.poll()
        if status is not None and self.child is not self._counted:
            self._counted = self.child
            self.ends.append(status)
            if self.again:
                self._start()

    def ready(self, within: float = 120.0) -> None:
        """Wait until it has its place in the group."""
        deadline = time.monotonic() + within
        while not self.ready_file.exists():
            if time.monotonic() > deadline or self.child.poll() is not None:
                cannot(f"the worker did not become ready: {self.said()[-400:]}")
            time.sleep(0.1)

    def lag(self) -> float | None:
        """Packets behind, as its metrics say; None: they do not answer."""
        import urllib.request

        try:
            port = json.loads(self.ready_file.read_text())["metrics"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=3) as answer:
                text = answer.read().decode()
        except (OSError, ValueError, KeyError):
            return None
        found = [float(row.rsplit(" ", 1)[1]) for row in text.splitlines() if row.startswith("protonova_worker_lag_packets")]
        return sum(found) if found else None

    def said(self) -> str:
        self._log.flush()
        return self.log_file.read_text(errors="replace")

    def stop(self) -> None:
        self.again = False
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


async def send(settings: Any, packets: Sequence[bytes], topic: str = "alerts.ztf", **options: Any) -> None:
    """Put packets into a topic."""
    import asyncio

    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(**settings.client_options(), max_request_size=9_000_000)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, packet, **options) for packet in packets])
    finally:
        await producer.stop()


async def records(settings: Any, *names: str) -> list[Any]:
    """Everything that topics hold now."""
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**settings.client_options())
    await admin.start()
    try:
        rows = await admin.describe_topics()
    finally:
        await admin.close()
    places = [TopicPartition(row["topic"], p["partition"]) for row in rows if row["topic"] in names for p in row["partitions"]]
    consumer = AIOKafkaConsumer(**settings.client_options(), group_id=None, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    found: list[Any] = []
    try:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                found += messages
            if all([await consumer.position(place) >= ends[place] for place in places]):
                break
    finally:
        await consumer.stop()
    return found


async def wait_for(true: Callable[[], Any], within: float, every: float = 1.0) -> float | None:
    """Seconds until an asynchronous question was answered yes; None: it was not."""
    import asyncio

    began = time.monotonic()
    while time.monotonic() - began < within:
        if await true():
            return time.monotonic() - began
        await asyncio.sleep(every)
    return None
