"""Files, folders, archives, stdin → packets in the alert topics, at a pace.

Packets are recognised by their content and go to their survey's topic; what is not a packet is listed as skipped, by reason. A container of
a survey we do not know is published all the same, to ``alerts.ztf`` unless --topic names another: there it ends as a counted rejection, and
nothing vanishes. FITS images are raw frames where the settings have `frames`, or with ``--topic frames.raw``: inline, or as a claim where
they are too large for a record.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from rich.console import Console

from console import report as reports
from console.frame_record import FrameRecord, frame_maker
from console.progress import Bar, progress
from errors import UserError, one_line, usage
from schemas.avro.wire import MAX_PACKET
from streams.kafka.topics import FRAMES_RAW, admin_client

if TYPE_CHECKING:
    from data.connectors.archives import FrameFile, Packet, Skipped
    from settings.model import Settings

IN_FLIGHT = 512
"""Packets sent and not yet acknowledged, at most: some 40 MB."""
LONGEST_GAP = 60.0
"""With --speed a longer pause between two alerts [s of alert time] is cut to this: an archive holds many nights."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast packets go out: `rate` [1/s], or `speed` times the alerts' own times, or as fast as it goes."""

    rate: float | None = None
    speed: float | None = None

    @classmethod
    def parse(cls, rate: str | None, speed: str | None) -> Pace:
        """Read ``200``, ``200/s``, ``10x``.

        Raises
        ------
        UserError
            Neither a rate nor a speed.
        """
        return cls(_positive("--rate", rate, unit=r"/s"), _positive("--speed", speed, unit=r"[x×]"))


def _positive(flag: str, text: str | None, *, unit: str) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(rf"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*(?:{unit})?\s*", text)
    if match is None or not 0 < float(match[1]) < 1e9:
        raise usage(f"{flag} {text!r} is not a number above 0: write {flag} {'200/s' if flag == '--rate' else '10x'}")
    return float(match[1])


@dataclass(slots=True)
class Sent:
    """What was published."""

    packets: Counter[str] = field(default_factory=Counter)
    """By topic."""
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """Kind of skip → one origin and its reason."""
    failed: Counter[str] = field(default_factory=Counter)
    """What the broker refused, by error."""
    bytes: int = 0
    seconds: float = 0.0

    def skip(self, item: Skipped) -> None:
        """Count something that is not a packet."""
        self.skipped[item.kind] += 1
        self.examples.setdefault(item.kind, f"{item.origin}: {item.reason}")

    def figures(self) -> dict[str, Any]:
        """For the report. Detections, duplicates and rejections are the workers' to count."""
        return {
            "packets": self.packets.total(),
            "topics": dict(self.packets),
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "packets_per_second": self.packets.total() / self.seconds if self.seconds else None,
        }


class Publisher:
    """Sends packets, not too many at a time, and waits for the broker to acknowledge each.

    Parameters
    ----------
    settings : Settings
        With a broker.
    pace : Pace
    headers : sequence of (str, bytes)
        Put on every packet, beside its origin.
    """

    def __init__(self, settings: Settings, pace: Pace, *, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        self.sent = Sent()
        self._settings = settings
        self._headers = tuple(headers)
        self._schedule = Schedule(pace)
        self._flying: deque[tuple[str, int, asyncio.Future[Any]]] = deque()
        self._producer = AIOKafkaProducer(
            **settings.client_options(),
            acks="all",
            linger_ms=2,
            max_batch_size=1_048_576,
            max_request_size=MAX_PACKET + 1_000_000,
            enable_idempotence=True,
        )

    async def __aenter__(self) -> Publisher:
        await self._producer.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self.settle()
        finally:
            await self._producer.stop()

    async def known_topics(self) -> set[str]:
        """Topics on the broker."""
        async with admin_client(self._settings) as admin:
            return set(await admin.list_topics())

    async def send(self, origin: str, packet: bytes, *, topic: str, key: bytes | None) -> None:
        """Publish one packet when its time has come."""
        await self._schedule.wait(packet)
        headers = [("origin", one_line(origin, 300).encode()), *self._headers]
        self._flying.append((topic, len(packet), await self._producer.send(topic, packet, key=key, headers=headers)))
        if len(self._flying) >= IN_FLIGHT:
            await self.settle(IN_FLIGHT // 2)

    async def settle(self, leave: int = 0) -> None:
        """Wait for the oldest acknowledgements until so many are open."""
        while len(self._flying) > leave:
            topic, size, future = self._flying.popleft()
            try:
                await future
            except KafkaError as error:
                self.sent.failed[type(error).__name__] += 1
            else:
                self.sent.packets[topic] += 1
                self.sent.bytes += size


class Schedule:
    """When the next packet may go."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self.pace = pace
        self._clock = clock
        self._began: float | None = None
        self._count = 0
        self._last_mjd: float | None = None
        self._virtual = 0.0
        self._decoder: Any = None

    async def wait(self, packet: bytes) -> None:
        """Sleep until it is this packet's turn."""
        due = self.due(packet)
        if due is not None:
            # Only real waits sleep: the loop's timer is too coarse for 1 ms at a time.
            ahead = due - self._clock()
            if ahead > 0.001:
                await asyncio.sleep(ahead)
        else:
            await asyncio.sleep(0)

    def due(self, packet: bytes) -> float | None:
        """Moment on the clock [s] at which a packet goes; None: at once."""
        if self._began is None:
            self._began = self._clock()
        if self.pace.rate is not None:
            due = self._began + self._count / self.pace.rate
            self._count += 1
            return due
        if self.pace.speed is not None:
            mjd = self._time_of(packet)
            if mjd is not None:
                if self._last_mjd is not None:
                    self._virtual += min(max(0.0, (mjd - self._last_mjd) * 86400.0), LONGEST_GAP) / self.pace.speed
                self._last_mjd = mjd
            return self._began + self._virtual
        return None

    def _time_of(self, packet: bytes) -> float | None:
        """The alert's own time [d, MJD]; None of a packet that cannot be read: it goes with the one before."""
        if self._decoder is None:
            from schemas.surveys.decode import Decoder

            self._decoder = Decoder()
        decoded = self._decoder.decode([packet])
        return float(decoded.batch.mjd[0]) if decoded.index else None


def publish(
    settings: Settings, paths: Sequence[str], *, pace: Pace, topic: str | None = None, test: bool = False, report: Path | None = None
) -> int:
    """Run the command; returns the exit status."""
    reports.check_writable(report)
    headers = [("_test", b"true"), ("alert_tense", b"test")] if test else []
    sent = asyncio.run(_publish(settings, paths, pace=pace, topic=topic, headers=headers))
    _print(reports.output(), sent)
    reports.write(report, {"command": "publish", **sent.figures(), "detections": None, "duplicates": None, "rejected": None})
    return 0 if sent.packets and not sent.failed else 1


async def _publish(
    settings: Settings, paths: Sequence[str], *, pace: Pace, topic: str | None, headers: Sequence[tuple[str, bytes]]
) -> Sent:
    from data.connectors.archives import packets_of

    async with Publisher(settings, pace, headers=headers) as publisher:
        known = await publisher.known_topics()
        with progress("publish", unit="packets") as bar:
            wanted = frame_maker(settings) if settings.frames or topic == FRAMES_RAW else None
            await send_all(publisher, packets_of(paths), known=known, topic=topic, bar=bar, frames=wanted)
    return publisher.sent


async def send_all(
    publisher: Publisher, items: Iterable[Packet | Skipped], *, known: set[str], topic: str | None, bar: Bar,
    frames: Callable[[FrameFile], FrameRecord | Skipped] | None = None,
) -> None:  # fmt: skip
    """Publish everything that is a packet, and frames where they are wanted; count the rest.

    Parameters
    ----------
    publisher : Publisher
    items : iterable of Packet or Skipped
    known : set of str
        Topics on the broker.
    topic : str, optional
        Where everything goes; None: each packet to its survey's.
    bar : Bar
    frames : callable, optional
        What becomes of a FITS image (`console.frame_record`); None: it is skipped.

    Raises
    ------
    UserError
        A topic that is needed is not on the broker.
    """
    from console.recognise import Recogniser
    from data.connectors.archives import FrameFile, Skipped

    recognise = Recogniser()
    started = time.monotonic()
    for item in items:
        made = frames(item) if frames is not None and isinstance(item, FrameFile) else item
        if isinstance(made, Skipped):
            publisher.sent.skip(made)
            continue
        own, key = (FRAMES_RAW, made.key) if isinstance(made, FrameRecord) else recognise(made.packet)
        to = topic or own
        if to not in known:
            raise UserError(f"the broker has no topic {to}: start `protonova run`, or make ours with `protonova topics --repair`")
        await publisher.send(made.origin, made.packet, topic=to, key=key)
        bar.advance()
    await publisher.settle()
    publisher.sent.seconds = time.monotonic() - started


def _print(console: Console, sent: Sent) -> None:
    where = ", ".join(f"{n:,} to {t}" for t, n in sorted(sent.packets.items())) or "none"
    rate = sent.packets.total() / sent.seconds if sent.seconds else 0.0
    console.print(
        f"{sent.packets.total():,} packets published ({where}), {sent.bytes / 1e6:,.1f} MB in {sent.seconds:.1f} s ({rate:,.0f}/s);"
        f" {sent.skipped.total():,} things skipped",
        soft_wrap=True,
    )
    if sent.skipped:
        table = reports.table()
        table.add_column("why")
        table.add_column("things", justify="right")
        table.add_column("such as", overflow="fold")
        for kind, n in sent.skipped.most_common():
            table.add_row(reports.cell(kind), f"{n:,}", reports.cell(sent.examples[kind], limit=160))
        reports.show(console, "Skipped: no packets", table)
    if sent.failed:
        reports.show(console, "Refused by the broker", reports.count_table(sent.failed, "error"))
