"""Settings and a scorer → the Faust application of a worker. The one composition root.

alerts.* ──► Batcher (ingest) ──► Detector (detect) ──► Deliverer (deliver) ──► acknowledgement, TelemetryCounts (telemetry)
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import faust
import structlog
from aiokafka import AIOKafkaProducer

from schemas.records import codec
from schemas.records.drift_alarm import DriftAlarm
from schemas.records.rejected import Rejected
from settings.private import private_folder
from streams import metrics
from streams.agents.batcher import BATCH_BYTES, Batcher
from streams.agents.detector import Detector, Duplicates, EngineFailure, Incoming, Scored
from streams.agents.reject_limits import RejectLimitError, RejectLimits
from streams.kafka import topics
from streams.kafka.batches import Unreadable
from streams.kafka.buffer import BUFFER
from streams.kafka.liveness import Liveness
from streams.kafka.producer import Deliverer, producer_options
from streams.kafka.transport import App, packets
from streams.scorer import BATCH_SIZE, Scorer, StateHolder, batch_size_of
from streams.telemetry import TelemetryCounts

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

ENGINE_FAILED = 70
"""Exit status: the engine failed on packets; what is not acknowledged comes again."""
HALTED = 65
"""Exit status: too many packets were rejected; a person decides how to go on."""
FLOW_FAILED = 75
"""Exit status: the broker, or the flow itself; the same."""
LOOK_EVERY = 5.0
"""How often the committed offsets are looked at [s]."""
ALARM_EVERY_MS = 60_000
"""How often records that cannot be read raise an alarm, for each partition and kind [ms]."""
ALARM_WITHIN = 2.0
"""How long a worker that halts waits for the broker to take its alarm [s]."""
SETTLE_WITHIN = 6.0
"""How long a rebalance may wait for what is in hand [s]; the group waits for ten."""
FETCH_BYTES = 2 * 1024 * 1024
"""Of a partition at once; 16 MB cost half as much again in copies [bytes]."""
HEARTBEAT_S = 0.5
"""How soon a member learns of a rebalance, as its partitions wait for it [s]."""
METADATA_MS = 5_000
"""How soon new partitions and topics made anew are seen [ms]."""


class Flow:
    """What happens to packets between the stream and the acknowledgement.

    Parameters
    ----------
    settings : Settings
    scorer : Scorer
    worker : str
        Name of this worker.
    on_fatal : callable
        Called with the exit status and why, when the process has to end.
    """

    def __init__(self, settings: Settings, scorer: Scorer, *, worker: str, on_fatal: Callable[[int, str], None]) -> None:
        self._settings, self.worker, self._on_fatal = settings, worker, on_fatal
        self._halting: asyncio.Future[None] | None = None
        self.states = StateHolder(scorer)
        self.counts = TelemetryCounts(worker, self.states, now=time.time())
        self._swapping = asyncio.Lock()
        # One thread: batches are scored in their order, and the network's own threads are its engine's affair.
        self._executor = ThreadPoolExecutor(1, "score")
        limits = RejectLimits(settings.reject_consecutive, settings.reject_ratio, window=settings.reject_window)
        self._detector = Detector(self.states, Duplicates(settings.remembered), self._executor, limits)
        self.producer: AIOKafkaProducer | None = None
        self.alarms: list[DriftAlarm] = []
        """To be sent with the next telemetry."""
        self._alarmed: dict[str, int] = {}
        self._batcher: Batcher[Incoming, Scored] | None = None

    async def start(self) -> None:
        """Connect the producer."""
        if self.producer is None:
            producer = AIOKafkaProducer(**self._settings.client_options(), **producer_options())
            await producer.start()
            self.producer = producer
            size = self._settings.batch_size or batch_size_of(self.states.current)
            deliverer = Deliverer(producer, self._settings.form_of)
            self._batcher = Batcher(
                size,
                self._settings.batch_wait_ms / 1000,
                compute=self._detector.compute,
                send=deliverer.send,
                acknowledge=self._acknowledge,
                on_failure=self._failed,
                weigh=lambda packet: len(packet.value),
                limit_bytes=BATCH_BYTES * max(1, size // BATCH_SIZE),
            )

    async def swap(self, scorer: Scorer) -> Scorer:
        """Score by another state from the next batch on; returns the one before.

        The topics of its classes are made first, and known to the producer: no delivery has to wait for one.

        Parameters
        ----------
        scorer : Scorer
            Built and warm (`streams.scorer.prepare`).

        Raises
        ------
        aiokafka.errors.KafkaError
            A topic cannot be made; the state before goes on.
        """
        async with self._swapping:
            new = set(scorer.classes) - set(self.states.current.classes)
            if new:
                await topics.declare_classes(self._settings, sorted(new))
                if self.producer is not None:
                    await asyncio.gather(*(self.producer.partitions_for(topics.class_topic(name)) for name in new))
            return self.states.swap(scorer)

    async def run(self, stream: Any) -> None:
        """Take packets off the stream for as long as it lasts."""
        await self.start()
        batcher = self._batcher
        assert batcher is not None
        async for arrived in packets(stream):
            # Kafka allows records and headers without a value. A record without one is an empty packet: rejected, and not the worker's end.
            headers = [(name, value) for name, value in arrived.headers if value is not None]
            value, (topic, partition) = arrived.value or b"", arrived.place
            # What could not be read has no time; it stands for several records, and is named by the first.
            offset, ms = (value.first, int(time.time() * 1000)) if isinstance(value, Unreadable) else (arrived.offset, arrived.timestamp_ms)
            await batcher.put(Incoming(value, topic, partition, offset, ms or 0, headers, arrived))

    def waiting(self) -> str | None:
        """What scoring waits for outside of the flow (None: nothing)."""
        return self._detector.waiting

    async def drain(self) -> None:
        """Finish what was taken; what waits for another is left, and comes again."""
        self._detector.leave()
        if self._batcher is not None:
            await self._batcher.drain()

    async def settle(self) -> None:
        """Finish what is in hand, and go on; gives up where that takes longer than a rebalance may."""
        if self._batcher is not None and self.waiting() is None:
            try:
                async with asyncio.timeout(SETTLE_WITHIN):
                    await self._batcher.settle()
            except TimeoutError:
                log.warning("a rebalance did not wait any longer for what is in hand; it comes again")

    async def stop(self) -> None:
        """Let the producer go."""
        if self.producer is not None:
            await self.producer.stop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _acknowledge(self, packets: list[Incoming], scored: Scored) -> None:
        now_ms = time.time() * 1000
        metrics.BATCH.observe(len(packets))
        metrics.COMPUTE.observe(scored.compute_s)
        counts = self.counts.of(scored.scorer)
        counts.batch(sum(p.value.records if isinstance(p.value, Unreadable) else 1 for p in packets), scored.compute_s)
        outcomes: Counter[tuple[str, str]] = Counter()  # a metric's label costs more than its number: each once a batch
        rejected: Counter[tuple[str, str]] = Counter()
        for packet, outcome in zip(packets, scored.outcomes, strict=True):
            survey, count = packet.topic.rpartition(".")[2], 1
            latency_ms = max(0.0, now_ms - packet.appended_ms)
            if isinstance(packet.value, Unreadable):
                count = packet.value.records
                self._alarm(packet, packet.value, scoring_id=scored.scorer.scoring_id)
            counts.packet(survey, outcome.result, latency_ms=latency_ms, count=count)
            metrics.LATENCY.observe(latency_ms / 1000)
            if isinstance(outcome.result, Rejected):
                packet.event.ack("rejected", count)
                outcomes[survey, "rejected"] += count
                rejected[survey, outcome.result.error_class] += count
            elif outcome.result is None:
                packet.event.ack("duplicates")
                outcomes[survey, "duplicate"] += 1
            else:
                packet.event.ack("detections")
                outcomes[survey, "detection"] += 1
                metrics.NOVELTY.observe(outcome.result.novelty)
        for labels, n in outcomes.items():
            metrics.PACKETS.labels(*labels).inc(n)
        for labels, n in rejected.items():
            metrics.REJECTED.labels(*labels).inc(n)

    def _alarm(self, packet: Incoming, found: Unreadable, *, scoring_id: str) -> None:
        """Ask for attention: a disk, a wire or a producer damages what is read. Once a minute of each partition and kind."""
        key, now_ms = f"{found.error_class}:{packet.topic}/{packet.partition}", int(time.time() * 1000)
        if now_ms - self._alarmed.get(key, 0) < ALARM_EVERY_MS:
            return
        self._alarmed[key] = now_ms
        alarm_id = hashlib.sha256(f"{key}@{found.first}".encode()).hexdigest()[:16]
        place = f"{packet.topic}/{packet.partition}"
        self.alarms.append(
            DriftAlarm(alarm_id, "reader", found.error_class, place, 0.0, float(found.records), found.records, scoring_id, now_ms)
        )

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, RejectLimitError):
            self._halting = asyncio.ensure_future(self._halt(error))
        else:
            self._on_fatal(ENGINE_FAILED if isinstance(error, EngineFailure) else FLOW_FAILED, f"{type(error).__name__}: {error}")

    async def _halt(self, error: RejectLimitError) -> None:
        """Ask for a person, then end; where the broker does not take the alarm in time, end all the same."""
        now_ms = int(time.time() * 1000)
        alarm_id = hashlib.sha256(f"{self.worker}|{now_ms}".encode()).hexdigest()[:16]
        place = f"{self.worker}/{error.error_class}"
        scoring_id = self.states.current.scoring_id
        alarm = DriftAlarm(alarm_id, "limit", "reject_limit", place, error.limit, error.observed, error.packets, scoring_id, now_ms)
        try:
            async with asyncio.timeout(ALARM_WITHIN):
                await publish_telemetry(self, all_of_it=True)
                if self.producer is not None:
                    await self.producer.send_and_wait(topics.ALARMS, codec.encode(alarm), key=f"reject_limit:{place}".encode())
        except Exception as failure:
            log.warning("the alarm was not sent", why=repr(failure))
        finally:
            self._on_fatal(HALTED, str(error))


def make_app(settings: Settings, scorer: Scorer, *, slot: int = 0, on_fatal: Callable[[int, str], None] | None = None) -> tuple[App, Flow]:
    """The application of a worker.

    Parameters
    ----------
    settings : Settings
        With a broker.
    scorer : Scorer
    slot : int
        Number of this worker on this machine: a restarted worker of the same slot takes its partitions back at once.
    on_fatal : callable, optional
        Called with the exit status and why, when the process has to end.

    Returns
    -------
    (App, Flow)
        The application, not started, and what its agent runs.
    """
    options = settings.client_options()
    name = member(settings, slot)
    folder = private_folder(settings.state / "faust" / str(slot))

    def end(status: int, why: str) -> None:
        log.error("worker ends", status=status, why=why)

    fatal = on_fatal or end
    flow = Flow(settings, scorer, worker=name, on_fatal=fatal)
    app = App(
        settings.app_id,
        settle=flow.settle,
        broker=[f"kafka://{server}" for server in options["bootstrap_servers"]],
        broker_credentials=_credentials(settings),
        datadir=str(folder),
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
        broker_client_id=name,
        # A static member: its restart is not a rebalance, and after a kill its place is free after ten seconds and not after sixty.
        consumer_group_instance_id=name,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_commit_interval=0.5,
        broker_check_crcs=False,  # `streams.kafka.batches` does, by the processor's instruction
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_MS,
        producer_max_request_size=9_500_000,
        stream_buffer_maxsize=BUFFER,
        topic_disable_leader=True,
        topic_allow_declare=False,  # `streams.kafka.topics` does
        web_enabled=False,
        worker_redirect_stdouts=False,
    )

    async def detect(stream: Any) -> None:
        await flow.run(stream)

    # One stream over all partitions, one batcher: acknowledgements stay in each partition's order.
    app.agent(app.topic(*topics.ALERTS, key_serializer="raw", value_serializer="raw"), name="detect", concurrency=1)(detect)
    app.timer(1.0, name="telemetry")(lambda: publish_telemetry(flow))
    app.timer(1.0, name="marks")(lambda: cast(Any, app.consumer).read_over())
    app.timer(LOOK_EVERY, name="liveness")(
        Liveness(app, settings.stall_s, on_stall=lambda why: fatal(FLOW_FAILED, why), waiting=flow.waiting).look
    )
    return app, flow


async def publish_telemetry(flow: Flow, *, all_of_it: bool = False) -> None:
    """Send the counts of the last second, if there is something to say; all there is where the worker ends."""
    if flow.producer is not None:
        summaries, scores = flow.counts.take(time.time(), all_of_it=all_of_it)
        for summary in summaries:
            await flow.producer.send(topics.TELEMETRY, key=summary.worker.encode(), value=codec.encode(summary))
        for stratum in scores:
            await flow.producer.send(topics.TELEMETRY, key=stratum.worker.encode(), value=codec.encode(stratum))
        alarms, flow.alarms = flow.alarms, []
        for alarm in alarms:
            await flow.producer.send(topics.ALARMS, key=f"{alarm.statistic}:{alarm.stratum}".encode(), value=codec.encode(alarm))


def _credentials(settings: Settings) -> Any:
    """What Faust's own consumer needs to reach the broker."""
    context = settings.ssl_context()
    if settings.kafka_security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.sasl_password(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context=context)


def member(settings: Settings, slot: int) -> str:
    """A name that is the same after a restart, and another one for another machine or state folder."""
    place = hashlib.sha256(str(settings.state.absolute()).encode()).hexdigest()[:6]
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{settings.app_id}-{socket.gethostname()}-{place}-{slot}")
