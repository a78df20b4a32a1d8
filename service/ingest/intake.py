"""Pushed packets → checked by decoding → Kafka with the acknowledgement of all replicas → where each lies.

Nothing is answered as taken that the broker has not acknowledged. What waits for the broker is bounded in bytes, until the broker or the
client library has decided about it, not until a caller gave up; beyond, and while the broker is known to be away, a push is refused before
its body is read. A refusal after the packets were handed over means *not known*: sent again they are duplicates, which the stream drops.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from errors import RetryableError, one_line
from schemas.avro.wire import PacketError
from schemas.surveys.decode import Decoder
from schemas.surveys.identity import packet_id
from service.ingest.breaker import Breaker
from service.ingest.remembered import Remembered
from service.ingest.shared_pushes import SharedPushes
from streams.kafka import topics
from streams.kafka.producer import producer_options

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

TOPICS: Mapping[str, str] = {name.removeprefix("alerts."): name for name in topics.ALERTS}
"""Survey → the topic of its packets."""
ACKNOWLEDGED_WITHIN = 5.0
"""How long the broker may take [s]."""
AGAIN = 1.0
"""Before the broker is tried again while there is no connection [s]."""
MOST_FAILURES = 8
"""Sends that fail in a row until the producer is made anew."""
LONGEST_NAME = 256
"""Of an Idempotency-Key [characters]."""
LOOKED_EVERY = 0.02
"""How often it is looked whether another process has answered [s]."""
DECODED_AT_ONCE = 16
"""Packets that are checked before other requests have their turn."""


class AwayError(RetryableError):
    """The broker is away, or too much waits for it.

    Parameters
    ----------
    message : str
    after_s : float
        When it makes sense to push again [s].
    """

    def __init__(self, message: str, after_s: float = 2.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class OtherBytesError(ValueError):
    """The idempotency key was used for other bytes."""


class FaultyError(ValueError):
    """Packets that are not taken: position and reason of each."""

    def __init__(self, faults: Sequence[tuple[int, PacketError]]) -> None:
        super().__init__(f"{len(faults)} packets cannot be taken")
        self.faults = list(faults)


class Checked(NamedTuple):
    """A packet that can be scored."""

    packet: bytes
    survey: str
    candid: int
    object_id: str
    packet_id: str


class Placed(NamedTuple):
    """Where a packet lies."""

    packet_id: str
    candid: str
    object_id: str
    topic: str
    partition: int
    offset: str


class Intake:
    """Takes packets.

    Parameters
    ----------
    settings : Settings
        With a broker.
    decoder : Decoder
        Checks what comes; not the scorer's, which is another thread's.
    most_bytes : int, optional
        That may wait for the broker.
    shared : SharedPushes, optional
        Answers that other processes of this machine gave, and this one before it was started again.
    """

    def __init__(self, settings: Settings, decoder: Decoder, *, most_bytes: int | None = None, shared: SharedPushes | None = None) -> None:
        self._settings, self._decoder = settings, decoder
        self._most = most_bytes or settings.api_push_mb << 20
        self.breaker = Breaker()
        self._remembered, self._shared = Remembered(), shared
        self._producer: Any = None
        self._starting: asyncio.Task[None] | None = None
        self._failures = 0
        self.waiting_bytes = 0
        self.taken = self.repeated = self.refused = 0

    @property
    def is_open(self) -> bool:
        """Whether the broker was there when it was last asked."""
        return self._producer is not None and self.breaker.is_closed

    def start(self) -> None:
        """Connect, now or as soon as the broker is there."""
        self._starting = asyncio.get_running_loop().create_task(self._connect())

    async def stop(self) -> None:
        """Send what waits, and end."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._shared is not None:
            self._shared.close()
        if self._producer is not None:
            try:
                async with asyncio.timeout(ACKNOWLEDGED_WITHIN):
                    await self._producer.stop()
            except (KafkaError, TimeoutError) as error:
                log.warning("not everything that was pushed was sent; none of it was answered as taken", why=repr(error))

    async def _connect(self) -> None:
        options = {**producer_options(), **self._settings.client_options(), "request_timeout_ms": int(1000 * ACKNOWLEDGED_WITHIN)}
        while True:
            producer = AIOKafkaProducer(**options)
            try:
                await producer.start()
            except (KafkaError, OSError) as error:
                log.warning("the broker does not answer; pushes are refused", why=one_line(error, 200))
                await producer.stop()
                await asyncio.sleep(AGAIN)
                continue
            self._producer, self._failures = producer, 0
            return

    async def _renew(self) -> None:
        """Another producer: one whose sends fail again and again may have lost its place in the broker's sequence for good."""
        former, self._producer = self._producer, None
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN):
                await former.stop()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the former producer did not end in order", why=one_line(error, 200))
        await self._connect()

    def _failed(self) -> None:
        """A send failed: the breaker opens, and after some in a row the producer is made anew."""
        self.breaker.failed()
        self._failures += 1
        if self._failures >= MOST_FAILURES and self._producer is not None and (self._starting is None or self._starting.done()):
            self._starting = asyncio.get_running_loop().create_task(self._renew())

    def check_room(self) -> None:
        """Refuse before the body is read.

        Raises
        ------
        AwayError
        """
        if self._producer is None:
            self.refused += 1
            raise AwayError("the broker does not answer")
        if self.waiting_bytes >= self._most:
            self.refused += 1
            raise AwayError("too many pushed packets wait for the broker", 1.0)
        if self.breaker.is_closed:
            return
        wait = self.breaker.wait()
        if wait:
            self.refused += 1
            raise AwayError("the broker does not answer", math.ceil(wait))

    async def take(self, packets: Sequence[bytes], survey: str, *, name: str | None, caller: str) -> tuple[list[Placed], bool]:
        """Take packets, or find that they were taken before.

        Parameters
        ----------
        packets : sequence of bytes
        survey : str
            Of `TOPICS`.
        name : str or None
            The caller's idempotency key; None: the bytes are.
        caller : str
            Whose key it is: two callers' keys have nothing to do with each other.

        Returns
        -------
        list of Placed, bool
            Where each packet lies, and whether the answer is that of an earlier push.

        Raises
        ------
        FaultyError
            Packets that cannot be scored, or are another survey's: none was sent.
        OtherBytesError
            The key was used for other bytes.
        AwayError
            It is not known whether the broker has them.
        """
        whole = hashlib.sha256(survey.encode())
        for packet in packets:
            whole.update(len(packet).to_bytes(4, "big"))
            whole.update(packet)
        digest = whole.digest()
        known_as = hashlib.sha256(f"{caller}\0{name}".encode()).digest() if name is not None else digest
        before = self._remembered.find(known_as)
        if before is not None:
            if before.digest != digest:
                raise OtherBytesError
            self.breaker.gave_up()
            placed: list[Placed] = await asyncio.shield(before.answer)
            self.repeated += 1
            return placed, True
        push = self._remembered.begin(known_as, digest)
        claimed = False
        try:
            earlier = await self._elsewhere(known_as, digest)
            if earlier is not None:
                self.breaker.gave_up()
                push.answer.set_result(earlier)
                self.repeated += 1
                return earlier, True
            claimed = True
            checked = await self._checked(packets, survey)
            placed = await self._send(checked)
        except BaseException as error:
            self._remembered.forget(known_as)
            if claimed and self._shared is not None:
                self._shared.release(known_as)
            known = isinstance(error, AwayError | FaultyError | OtherBytesError)
            push.answer.set_exception(error if known else AwayError("the first push of these packets was given up: push them again"))
            push.answer.exception()  # perhaps no repeat waits for it
            raise
        push.answer.set_result(placed)
        if self._shared is not None:
            self._shared.settle(known_as, orjson.dumps([list(place) for place in placed]))
        self.taken += len(placed)
        return placed, False

    async def _elsewhere(self, name: bytes, digest: bytes) -> list[Placed] | None:
        """The answer of a push of the same name by another process, or by this one's predecessor; None: there was none, it is ours.

        Raises
        ------
        OtherBytesError
        AwayError
            Another process has had it in hand for too long.
        """
        if self._shared is None:
            return None
        until = time.monotonic() + 2 * ACKNOWLEDGED_WITHIN
        while (earlier := self._shared.claim(name, digest)) is not None:
            if earlier.digest != digest:
                raise OtherBytesError
            if earlier.answer is not None:
                return [Placed(*row) for row in orjson.loads(earlier.answer)]
            if time.monotonic() > until:
                raise AwayError("the first push of these packets is still in hand: push them again")
            await asyncio.sleep(LOOKED_EVERY)
        return None

    async def _checked(self, packets: Sequence[bytes], survey: str) -> list[Checked]:
        out: list[Checked] = []
        faults: list[tuple[int, PacketError]] = []
        for begin in range(0, len(packets), DECODED_AT_ONCE):
            part = packets[begin : begin + DECODED_AT_ONCE]
            found = self._decoder.decode(part)
            faults += [(begin + position, fault) for position, fault in found.rejected]
            batch = found.batch
            for row, position in enumerate(found.index):
                named = packet_id(batch.survey[row], batch.candid[row], record_digest=batch.digest[row])
                if batch.survey[row] != survey:
                    faults.append((begin + position, PacketError("wrong_survey", f"the packet is of {batch.survey[row]}, not of {survey}")))
                else:
                    out.append(Checked(part[position], survey, batch.candid[row], batch.object_id[row], named))
            if begin + DECODED_AT_ONCE < len(packets):
                await asyncio.sleep(0)
        if faults:
            self.breaker.gave_up()
            raise FaultyError(sorted(faults, key=lambda pair: pair[0]))
        return out

    async def _send(self, checked: Sequence[Checked]) -> list[Placed]:
        """Hand the packets over, and wait for the broker."""
        topic = TOPICS[checked[0].survey] if checked else ""
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN):
                acks = [await self._handed(topic, one) for one in checked]
                places = await asyncio.gather(*(asyncio.shield(ack) for ack in acks))
        except (KafkaError, OSError, TimeoutError) as error:
            self._failed()
            log.warning("the broker does not acknowledge", topic=topic, why=one_line(f"{type(error).__name__}: {error}", 200))
            raise AwayError(
                "the broker did not acknowledge the packets in time; whether it has them is not known: push them again"
            ) from None
        except asyncio.CancelledError:
            self.breaker.gave_up()
            raise
        self.breaker.succeeded()
        self._failures = 0
        return [
            Placed(one.packet_id, str(one.candid), one.object_id, topic, place.partition, str(place.offset))
            for one, place in zip(checked, places, strict=True)
        ]

    async def _handed(self, topic: str, one: Checked) -> asyncio.Future[Any]:
        """Give a packet to the client library; its bytes count until the library is done with it."""
        if self._producer is None:
            raise TimeoutError("the broker is asked anew")
        size = len(one.packet)
        self.waiting_bytes += size
        try:
            ack: asyncio.Future[Any] = await self._producer.send(topic, one.packet, key=one.object_id.encode())
        except BaseException:
            self.waiting_bytes -= size
            raise

        def done(future: asyncio.Future[Any]) -> None:
            self.waiting_bytes -= size
            if not future.cancelled():
                future.exception()  # one whose caller is gone: seen, and logged where the caller waited

        ack.add_done_callback(done)
        return ack
