"""The wiring table → topics on the broker.

Topics are declared before a worker starts: Faust ignores a missing source topic with a warning and then waits for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.taxonomy import OTHER

if TYPE_CHECKING:
    from aiokafka import TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient

    from settings.model import Settings

HOUR = 3_600_000
"""[ms]"""
DAY = 24 * HOUR
PACKET_BYTES = 8_300_000
"""Largest record of an alert topic: 8 MB of packet and some headers [bytes]."""
REJECTED_BYTES = 9_000_000
"""Largest record of `alerts.rejected`: the same with the reason in its headers [bytes]."""
KEPT_MEASURED = 90 * DAY
"""How long measurements and calibrated frames are kept: the histories of alerts are made anew from them [ms]."""
KEPT_INCREMENTS = 40 * DAY
"""How long increments are kept: what they were joined to is made anew from them, so longer than a sector's 27 d [ms]."""
RECORD_BYTES = 1_000_000
"""Largest record of everything else [bytes]."""


class Topic(NamedTuple):
    """A row of the wiring table."""

    name: str
    key: str
    value: str
    retention_ms: int
    """How long a record is kept [ms]; of a compacted topic: how long a tombstone is."""
    max_bytes: int = RECORD_BYTES
    partitions: int | None = 1
    """None: as many as the setting says."""
    cleanup: str = "delete"

    def configs(self) -> dict[str, str]:
        """The settings that the broker gets."""
        kept = "delete.retention.ms" if self.cleanup == "compact" else "retention.ms"
        return {
            "cleanup.policy": self.cleanup,
            kept: str(self.retention_ms),
            "max.message.bytes": str(self.max_bytes),
            "message.timestamp.type": "LogAppendTime",
        }


FRAME_ALERTS = "alerts.frames"
ALERTS = ("alerts.ztf", "alerts.lsst", "alerts.tess", FRAME_ALERTS)
INCREMENTS = "tess.increments"
FRAMES_RAW = "frames.raw"
FRAMES_CALIBRATED = "frames.calibrated"
MASTERS = "calibration.masters"
PHOTOMETRY_POSITIONS = "photometry.positions"
PHOTOMETRY_MEASURED = "photometry.measured"
REJECTED = "alerts.rejected"
REDRIVEN = "rejects.redriven"
POSITIONS = "sources.positions"
SOURCES = "sources.states"
DETECTIONS = "detections"
PRIVATE = "detections.private"
ANOMALY = "detections.anomaly"
EMBEDDINGS = "embeddings"
EMBEDDINGS_PRIVATE = "embeddings.private"
TELEMETRY = "telemetry.scores"
ALARMS = "drift.alarms"
DRIFT_STATES = "drift.states"
RETRAIN = "commands.retrain"
SUPPORT = "support.examples"
LOOP_EVENTS = "loop.events"
MODELS_BUNDLES = "models.bundles"
MODELS_ANNOUNCED = "models.announced"
ACCESS_TOKENS = "access.tokens"
FILTERS_DEFINED = "filters.defined"
WATCHLISTS = "filters.watchlists"
LABELS_KNOWN = "labels.known"
LABELS_WANTED = "labels.wanted"
CANDIDATES = "candidates"
CANDIDATES_PRIVATE = "candidates.private"
SHADOW = "detections.shadow"

TOPICS = (
    Topic("alerts.ztf", "as sent", "ZTF's Avro object container, as sent", 7 * DAY, PACKET_BYTES, None),
    Topic("alerts.lsst", "as sent", "Rubin's Avro in Confluent framing or as a container, as sent", 7 * DAY, PACKET_BYTES, None),
    Topic("alerts.tess", "as sent", "our TESS light-curve packet", 7 * DAY, PACKET_BYTES, None),
    Topic(
        FRAME_ALERTS, "position", "our packet of a source in the difference of a CCD frame and its reference", 7 * DAY, PACKET_BYTES, None
    ),
    Topic(INCREMENTS, "TIC", "a packet of the cadences since the last one; joined to whole packets", KEPT_INCREMENTS, PACKET_BYTES, None),
    # One partition each: one process reads them, and a night's frames keep their order.
    Topic(
        FRAMES_RAW,
        "file",
        "a raw CCD frame as FITS, plain or compressed, up to 8 MB; or FrameClaim: where a larger one lies",
        14 * DAY,
        PACKET_BYTES,
    ),
    Topic(FRAMES_CALIBRATED, "field, or detector", "CalibratedFrame: where its file lies, its masters and quality figures", KEPT_MEASURED),
    Topic(
        MASTERS,
        "detector/kind/filter/binning/gain/temperature/exposure/from",
        "MasterFrame: a master, where it lies and what it is valid for",
        7 * DAY,
        cleanup="compact",
    ),
    Topic(PHOTOMETRY_POSITIONS, "name", "PhotometryPosition: measured on every frame that covers it", 7 * DAY, cleanup="compact"),
    Topic(PHOTOMETRY_MEASURED, "position", "PhotometryMeasured: forced photometry at a position on one frame", KEPT_MEASURED),
    Topic(REJECTED, "topic:partition:offset", "the original bytes (over 8 MB: a part); why in the headers", 14 * DAY, REJECTED_BYTES),
    Topic(REDRIVEN, "partition/offset", "which rejected packets were sent again: the key is their place on `alerts.rejected`", 14 * DAY),
    Topic(
        POSITIONS,
        "source/topic/partition",
        "SourcePosition: up to where another cluster's topic is mirrored, increments are joined, and frames are worked up",
        7 * DAY,
        cleanup="compact",
    ),
    Topic(
        ACCESS_TOKENS,
        "key id; key id/used",
        "AccessToken: an API key's hash, owner and scopes; when it was last used. Restrict who may write it",
        7 * DAY,
        cleanup="compact",
    ),
    Topic(FILTERS_DEFINED, "owner/name", "FilterDefined: a user's filter, its latest revision", 7 * DAY, cleanup="compact"),
    Topic(WATCHLISTS, "owner/name", "Watchlist: a user's list of positions, up to 8 MB", 7 * DAY, PACKET_BYTES, cleanup="compact"),
    Topic(SOURCES, "source", "SourceState: what the mirror does with each source", 7 * DAY, cleanup="compact"),
    Topic(DETECTIONS, "object id", "Detection", 30 * DAY, RECORD_BYTES, None),
    Topic(PRIVATE, "object id", "Detection of a packet that is not public (ZTF programid 2, 3): restrict who may read it", 30 * DAY),
    Topic(ANOMALY, "object id", "Detection decided as `other`: like no class that is known, and real", 30 * DAY),
    Topic(EMBEDDINGS, "object id", "Embedding: what the network made of a detection's alert, in no order", 7 * DAY, RECORD_BYTES, None),
    Topic(EMBEDDINGS_PRIVATE, "object id", "Embedding of a packet that is not public: restrict who may read it", 7 * DAY),
    Topic(TELEMETRY, "worker", "WorkerSummary: a second's counts and latencies; ScoreSummary: its scores by stratum; both add up", DAY),
    Topic(ALARMS, "detector", "DriftAlarm: which statistic moved, from what to what, and the diagnosis", 90 * DAY),
    Topic(
        DRIFT_STATES,
        "model/part",
        "DriftState: what the drift process knows of a model's alerts, so that it forgets and repeats nothing",
        7 * DAY,
        cleanup="compact",
    ),
    Topic(RETRAIN, "model", "RetrainCommand: why, since when; idempotent by its id", 90 * DAY),
    Topic(
        SUPPORT,
        "class/; class/packet id",
        "ClassRecord: a class taught beside the known ones; the packet of an example, which counts once the class's record names it",
        7 * DAY,
        PACKET_BYTES,
        cleanup="compact",
    ),
    Topic(MODELS_BUNDLES, "sha256", "ModelBundle: the files of a model, up to 8 MB", 7 * DAY, PACKET_BYTES, cleanup="compact"),
    Topic(MODELS_ANNOUNCED, "alias", "ModelAnnounced: which model is champion, challenger, previous", 7 * DAY, cleanup="compact"),
    Topic(LOOP_EVENTS, "class, or model", "LoopEvent: each step of the loop around the model, with what was written", 365 * DAY),
    Topic(LABELS_KNOWN, "survey:candid", "KnownLabel: what an alert is, by people, catalogues and brokers", 7 * DAY, cleanup="compact"),
    Topic(LABELS_WANTED, "survey:candid", "LabelWanted: an alert that two models call differently, whose label would decide", 30 * DAY),
    Topic(CANDIDATES, "object id", "Candidate: an object reaches a class's threshold for the first time; it falls or is refuted", 30 * DAY),
    Topic(CANDIDATES_PRIVATE, "object id", "Candidate of alerts that are not public: restrict who may read it", 30 * DAY),
    Topic(
        SHADOW,
        "object id",
        "Detection by a model that is not in use; the header `role` says which: challenger, previous, baseline; champion: a copy of what "
        "the one in use made of the same packet",
        2 * DAY,
    ),
)


def class_topic(slug: str) -> str:
    """The topic of the detections that are published as a class; of `other`, that of anomalies."""
    return ANOMALY if slug == OTHER else f"{DETECTIONS}.{slug}"


def wiring(classes: Iterable[str]) -> list[Topic]:
    """The table with a topic for each class."""
    return [*TOPICS, *map(_of_class, classes)]


def _of_class(slug: str) -> Topic:
    return Topic(class_topic(slug), "object id", "Detection whose decision is the class, its threshold reached", 30 * DAY)


class Row(NamedTuple):
    """A topic beside the wiring table."""

    name: str
    partitions: int
    """0: it is not there."""
    records: int
    """Between its start and its end offsets, all partitions."""
    problems: tuple[str, ...]
    topic: Topic


@asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for administration, closed at the end."""
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**settings.client_options(), client_id="protonova-topics")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def declare(settings: Settings, classes: Iterable[str]) -> list[str]:
    """Make the topics that are missing and correct those that differ from the table.

    Parameters
    ----------
    settings : Settings
    classes : iterable of str
        Slugs that get a topic of their own.

    Returns
    -------
    list of str
        One line for each thing done; empty: all was well.
    """
    async with admin_client(settings) as admin:
        return await ensure(admin, wiring(classes), partitions=settings.partitions, replication=settings.replication)


async def declare_classes(settings: Settings, classes: Iterable[str]) -> list[str]:
    """Do the same for the topics of classes alone.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker is not there, or does not let us.
    """
    async with admin_client(settings) as admin:
        return await ensure(admin, [_of_class(c) for c in classes], partitions=settings.partitions, replication=settings.replication)


async def ensure_access(settings: Settings) -> None:
    """Make the topic of API keys where it is missing: a key may be given before a worker ever ran."""
    async with admin_client(settings) as admin:
        row = next(topic for topic in TOPICS if topic.name == ACCESS_TOKENS)
        await ensure(admin, [row], partitions=settings.partitions, replication=settings.replication)


def filter_topic(owner: str, name: str) -> Topic:
    """The topic of a filter's matches; an owner's name that Kafka does not take is written with other letters and a digest."""
    plain = re.sub(r"[^a-z0-9-]+", "-", owner.lower()).strip("-")[:40]
    if plain != owner:
        plain = f"{plain}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}".strip("-")
    return Topic(f"filters.{plain}.{name}", "object id", "FilterMatch: a detection that passed the filter", 30 * DAY)


async def ensure_filters(settings: Settings, further: Iterable[Topic] = ()) -> None:
    """Make the topics of filters and watchlists where they are missing, and some filters' own."""
    own = [topic for topic in TOPICS if topic.name in (FILTERS_DEFINED, WATCHLISTS)]
    async with admin_client(settings) as admin:
        await ensure(admin, [*own, *further], partitions=settings.partitions, replication=settings.replication)


async def check(settings: Settings, classes: Iterable[str]) -> list[Row]:
    """The topics of the table as they are on the broker."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    table = wiring(classes)
    async with admin_client(settings) as admin:
        found = await partitions_of(admin)
        configs = await _configs(admin, [t.name for t in table if t.name in found])
    consumer = AIOKafkaConsumer(**settings.client_options())
    await consumer.start()
    try:
        places = [TopicPartition(t.name, p) for t in table for p in range(found.get(t.name, 0))]
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    finally:
        await consumer.stop()
    rows = []
    for topic in table:
        records = sum(ends[place] - starts[place] for place in places if place.topic == topic.name)
        problems = tuple(
            _problems(
                topic, found.get(topic.name, 0), configs=configs.get(topic.name, {}), partitions=topic.partitions or settings.partitions
            )
        )
        rows.append(Row(topic.name, found.get(topic.name, 0), records, problems, topic))
    return rows


async def ensure(admin: AIOKafkaAdminClient, table: Sequence[Topic], *, partitions: int, replication: int) -> list[str]:
    """Bring the broker to a table; see `declare`."""
    from aiokafka.admin import NewPartitions, NewTopic
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
    from aiokafka.errors import TopicAlreadyExistsError, for_code

    done = []
    found = await partitions_of(admin)
    missing = [t for t in table if t.name not in found]
    if missing:
        made = await admin.create_topics(
            [NewTopic(t.name, t.partitions or partitions, replication, topic_configs=t.configs()) for t in missing]
        )
        for name, code, *message in made.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:  # another worker may have been quicker
                raise for_code(code)(f"topic {name}: {message[0] if message else code}")
            done.append(f"made {name}")
        await _until_known(admin, {t.name for t in missing})
    kept = [t for t in table if t.name in found]
    configs = await _configs(admin, [t.name for t in kept])
    for topic in kept:
        wanted, now = topic.configs(), configs[topic.name]
        different = {k: v for k, v in wanted.items() if now[k][0] != v}
        if different:
            # The request replaces all that was set on the topic: what others set there must be stated again.
            others = {k: value for k, (value, ours) in now.items() if ours and k not in wanted}
            answers = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, {**others, **wanted})])
            for code, message, *_ in (row for answer in answers for row in answer.resources):
                if code:
                    raise for_code(code)(f"topic {topic.name}: {message}")
            done.append(f"corrected {topic.name}: {', '.join(f'{k} {now[k][0]} to {v}' for k, v in different.items())}")
        count = topic.partitions or partitions
        if found[topic.name] < count:
            await admin.create_partitions({topic.name: NewPartitions(count)})
            done.append(f"{topic.name}: {found[topic.name]} partitions to {count}")
    return done


def _problems(topic: Topic, found: int, *, configs: dict[str, tuple[str | None, bool]], partitions: int) -> Iterable[str]:
    if not found:
        yield "missing"
        return
    if found < partitions:
        yield f"{found} partitions, not {partitions}"
    for key, value in topic.configs().items():
        if configs[key][0] != value:
            yield f"{key} is {configs[key][0]}, not {value}"


async def partitions_of(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Topic → number of partitions."""
    return {row["topic"]: len(row["partitions"]) for row in await admin.describe_topics()}


async def places_of(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, list[TopicPartition]]:
    """Topic → its partitions, for those of the topics that the broker has.

    A consumer knows the partitions only of topics that it was assigned, hence not from there.
    """
    from aiokafka import TopicPartition

    wanted = set(names)
    found = {row["topic"]: sorted(p["partition"] for p in row["partitions"]) for row in await admin.describe_topics()}
    return {name: [TopicPartition(name, p) for p in found[name]] for name in sorted(wanted & found.keys())}


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, tuple[str | None, bool]]]:
    """Topic → setting → (value, whether it was set on the topic itself)."""
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
    from aiokafka.errors import for_code

    on_topic = 1  # the protocol's source DYNAMIC_TOPIC_CONFIG
    out: dict[str, dict[str, tuple[str | None, bool]]] = {}
    if not names:
        return out
    answers: list[Any] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                raise for_code(code)(f"topic {name}: {message}")
            out[name] = {entry[0]: (entry[1], entry[3] == on_topic) for entry in entries}
    return out


async def _until_known(admin: AIOKafkaAdminClient, names: set[str], *, within: float = 30.0) -> None:
    """A topic just made needs a moment until the broker serves it."""
    deadline = time.monotonic() + within
    while not names <= (await partitions_of(admin)).keys():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the broker did not make {', '.join(sorted(names))} within {within:.0f} s")
        await asyncio.sleep(0.05)
