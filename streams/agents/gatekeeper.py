"""What champion and challenger said, and what is known of these alerts → a report, a promotion, and its taking back.

    detections.shadow, detections, labels.known ──► `evaluation.gates.judge` ──► loop.events (GateReport), labels.wanted
                                                          │ passed                │ after a promotion: surely worse
                                                          ▼                       ▼
                                                streams.models.promote    streams.models.rollback

All it knows lies on topics, so a gatekeeper that was killed reads what was done and does the rest; nothing is done twice. Its writings are
transactions of one transactional id, which ends any gatekeeper before it: of two, the older learns of it at its next step. A promotion is
based on the champion's revision, and refused where another came first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, ProducerFenced

from errors import RetryableError, UserError, one_line
from evaluation import gates
from gpu.session import EngineError
from registry.bundle import BundleError
from registry.bundle import load as load_bundle
from schemas.records import codec
from schemas.records.detection import Detection
from schemas.records.gate_report import PASSED, REFUSED, WAITING, GateReport
from schemas.records.label_wanted import LabelWanted
from schemas.records.loop_event import GATES_JUDGED, LABELS_WANTED, LoopEvent
from schemas.records.model_announced import BASELINE, CHALLENGER, CHAMPION, PREVIOUS, ModelAnnounced
from schemas.records.model_bundle import MODEL_DIGITS
from streams import models
from streams.agents.champion_match import ChampionMatch
from streams.agents.gate_evidence import Alerts, Evidence, opinion
from streams.agents.gate_history import History, Look, look, look_of, more
from streams.agents.shadow import Shadow
from streams.kafka import topics
from streams.kafka.broadcast import read_whole
from streams.kafka.consumer import make_consumer
from streams.kafka.exactly_once import decided_records, repeat
from streams.known_labels import Labels
from streams.model_ledger import LedgerKeeper
from streams.shadow_models import ShadowModels

if TYPE_CHECKING:
    from settings.model import Settings

log = structlog.get_logger(__name__)

AUTHOR = "gates"
TAKE_MS = 500
DECIDE_EVERY_S = 3.0
"""How often it is looked whether there is enough to judge [s]."""
MATCH_EVERY_S = 2.0
"""How often the champion's detections of what was scored are looked for [s]."""
MOST_ASKED = 200
"""Questions about one challenger in all."""
DAY_MS, HOUR_MS = 86_400_000, 3_600_000


class Gatekeeper:
    """Judges, promotes and takes back.

    Parameters
    ----------
    settings : Settings
        With a broker.
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._clock = settings, clock
        self._thresholds = replace(gates.STANDARD, alerts=settings.gates_alerts)
        self._ledger = LedgerKeeper(settings, AUTHOR)
        self.done = 0
        """Records written, for the pause after a failure."""
        self._shipped = ""
        self._forget()

    def _forget(self) -> None:
        self.labels, self.evidence, self.history = Labels(), Evidence(), History()
        self.announced: dict[str, ModelAnnounced] = {}
        self.asked: dict[str, dict[tuple[str, int], str]] = {}
        """Challenger → alerts that were asked about, and their objects."""
        self._seen: dict[tuple[str, str], tuple[Look, int]] = {}
        """What is judged, and against what → evidence at the last look, and how many labels had changed by then."""

    async def run(self) -> None:
        """Work until cancelled; a broker that fails is tried again."""
        await repeat(self._session, lambda: self.done, what="challengers are not judged", final=())

    async def _session(self) -> None:
        settings = self._settings
        async with AsyncExitStack() as stack:
            self._producer = AIOKafkaProducer(**settings.client_options(), transactional_id=f"{settings.app_id}.gates")
            stack.push_async_callback(self._producer.stop)
            await self._producer.start()  # ends any other gatekeeper
            sender = AIOKafkaProducer(**settings.client_options(), acks="all", enable_idempotence=True, linger_ms=5)
            stack.push_async_callback(sender.stop)
            await sender.start()
            self._forget()
            async for _ in decided_records(settings, topics.LOOP_EVENTS):  # what was begun before is decided first
                pass
            async for message in read_whole(settings, topics.LABELS_WANTED):
                self._question(message)
            follower = models.ModelFollower(settings)
            await self._announce(await follower.catch_up())
            consumer = make_consumer(settings, auto_offset_reset="earliest", fetch_max_wait_ms=200)
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            match = ChampionMatch(settings, sender=sender, stack=stack)
            await self._catch_up(consumer, match)
            shadow = Shadow(settings, sender, lambda role, found, at: self._hear(match, role, found=found, ingested_ms=at))
            casting = ShadowModels(settings, shadow)
            beside = shadow.run(), follower.follow(self._announce, due=True), self._ledger.run()
            tasks = [asyncio.ensure_future(one) for one in beside]
            stack.push_async_callback(_ended, tasks)
            log.info("judging", labels=len(self.labels), promote=settings.gates_promote, share=settings.shadow_share)
            due = matched = 0.0
            while True:
                for task in tasks:
                    if task.done():
                        task.result()
                await self._take(consumer, match, timeout_ms=TAKE_MS)
                await casting.cast(
                    self._roles(), taught=self.history.taught, champion=self.announced.get(CHAMPION), promoted_ms=self.history.promoted_ms
                )
                if (now := time.monotonic()) - matched > MATCH_EVERY_S:
                    matched = now
                    for found in await match.find(self._champion(), now_ms=self._now()):
                        self.evidence.put(CHAMPION, found.packet_id, found=opinion(found))
                if now - due > DECIDE_EVERY_S:
                    due = now
                    await self._decide()

    async def _announce(self, found: dict[str, ModelAnnounced]) -> None:
        self.announced = found
        self._ledger.see(found)

    def _now(self) -> int:
        return int(1000 * self._clock())

    def _champion(self) -> str:
        """Short id of the model in use; that of the settings' bundle where none was announced."""
        if (found := self.announced.get(CHAMPION)) is not None:
            return found.model
        if not self._shipped:
            self._shipped = load_bundle(self._settings.bundle).sha256[:MODEL_DIGITS]
        return self._shipped

    def _roles(self) -> dict[str, ModelAnnounced]:
        """Which models score along."""
        roles = {}
        challenger, previous = self.announced.get(CHALLENGER), self.announced.get(PREVIOUS)
        if challenger is not None and challenger.model != self._champion() and not self._is_decided(challenger):
            roles[CHALLENGER] = challenger
            roles |= self._baseline(challenger)
        if previous is not None and self._watched():
            roles[PREVIOUS] = previous
        return roles

    def _baseline(self, challenger: ModelAnnounced) -> dict[str, ModelAnnounced]:
        """The head made anew that a challenger has to beat, too: it was announced with it."""
        found = self.announced.get(BASELINE)
        return {BASELINE: found} if found is not None and found.revision == challenger.revision else {}

    def _is_decided(self, challenger: ModelAnnounced) -> bool:
        if challenger.model in self.history.rolled_back:
            return True
        report = self.history.reports.get(challenger.model)
        return report is not None and report.champion == self._champion() and report.verdict == REFUSED

    def _watched(self) -> bool:
        """Whether the champion is on probation."""
        since, until = self.history.promoted_ms, self._settings.gates_watch_hours * HOUR_MS
        return bool(since) and self.history.champion == self._champion() and self._now() - since < until

    async def _catch_up(self, consumer: Any, match: ChampionMatch) -> None:
        names = (topics.SHADOW, topics.LABELS_KNOWN, topics.LOOP_EVENTS)
        async with topics.admin_client(self._settings) as admin:
            found = await topics.places_of(admin, names)
        if missing := set(names) - found.keys():
            raise RetryableError(f"the broker has no topic {min(missing)}: `protonova topics --repair` makes it")
        places = [place for of in found.values() for place in of]
        consumer.assign(places)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            consumer.seek(place, begins[place])
        while [place for place in places if await consumer.position(place) < ends[place]]:
            await self._take(consumer, match, timeout_ms=200)

    async def _take(self, consumer: Any, match: ChampionMatch, *, timeout_ms: int) -> None:
        for place, messages in (await consumer.getmany(timeout_ms=timeout_ms, max_records=2000)).items():
            for message in messages:
                if place.topic == topics.SHADOW:
                    self._opinion(message, match)
                elif place.topic == topics.LABELS_KNOWN:
                    self._label(message)
                elif isinstance(event := codec.decode(message.value), LoopEvent):
                    self.history.take(event)

    def _label(self, message: Any) -> None:
        if (changed := self.labels.take(message)) is not None:
            before, now = changed.before, changed.after.label if changed.after is not None else "taken back"
            log.warning("a label changed", survey=before.survey, candid=before.candid, was=before.label, now=now)

    def _question(self, message: Any) -> None:
        if isinstance(found := codec.decode(message.value), LabelWanted):
            self.asked.setdefault(found.model, {})[found.survey, found.candid] = found.object_id

    def _opinion(self, message: Any, match: ChampionMatch) -> None:
        headers = {name: value for name, value in message.headers or () if value is not None}
        role = headers.get("role", b"").decode("utf-8", "replace")
        if role not in (CHALLENGER, PREVIOUS, CHAMPION, BASELINE):
            return
        if not message.value:
            model, count = headers.get("model", b"").decode("utf-8", "replace"), headers.get("faults", b"")
            if count.isdigit():
                self.evidence.fault(role, model, count=int(count[:6]))
            return
        name, model = (headers.get(key, b"").decode("utf-8", "replace") for key in ("packet_id", "model"))
        self.evidence.time(role, model, text=headers.get("slowdown"))
        if self.evidence.has(role, name, model=model):  # of this process, which heard it when it was sent: decoding costs half a scoring
            return
        found = codec.decode(message.value)
        if not isinstance(found, Detection) or (role == CHAMPION and found.model != self._champion()):
            return
        if role == CHAMPION:
            self.evidence.put(role, found.packet_id, found=opinion(found))
            match.have(found.packet_id)
        else:
            ingested = headers.get("ingested_at", b"")
            self._hear(match, role, found=found, ingested_ms=int(ingested) if ingested.isdigit() else message.timestamp)

    def _hear(self, match: ChampionMatch, role: str, *, found: Detection, ingested_ms: int) -> None:
        """Take what a model that is not in use says of an alert, and wait for what the champion says."""
        self.evidence.put(role, found.packet_id, found=opinion(found))
        if not self.evidence.has(CHAMPION, found.packet_id, model=self._champion()):
            match.want(found, since_ms=ingested_ms, now_ms=self._now())

    async def _decide(self) -> None:
        challenger, previous = self.announced.get(CHALLENGER), self.announced.get(PREVIOUS)
        if challenger is not None and challenger.model != self._champion():
            await self._judge_challenger(challenger)
        if previous is not None and self._watched():
            await self._judge_champion(previous)

    async def _judge_challenger(self, challenger: ModelAnnounced) -> None:
        champion = self._champion()
        report = self.history.reports.get(challenger.model)
        if report is not None and report.champion != champion:
            report = None
        if challenger.model in self.history.rolled_back:
            return
        if report is None or report.verdict == WAITING or self._changed_mind(champion, challenger.model):
            final = self._now() - challenger.announced_ms > self._settings.gates_days * DAY_MS
            roles = {CHAMPION: champion, CHALLENGER: challenger.model}
            roles |= {role: one.model for role, one in self._baseline(challenger).items()}
            report = await self._look(challenger.model, roles, last=report, final=final) or report
        if report is not None and report.verdict == PASSED and self._settings.gates_promote == "automatic":
            await self._promote(challenger, report)

    async def _judge_champion(self, previous: ModelAnnounced) -> None:
        """Look whether the promotion was a mistake: the former champion is what the present one is held against."""
        champion = self._champion()
        report = self.history.reports.get(champion)
        found = (
            await self._look(champion, {PREVIOUS: previous.model, CHAMPION: champion}, last=report, final=False, question=False) or report
        )
        if (
            found is None
            or not (why := gates.surely_worse(found, least=self._thresholds.alerts))
            or self._settings.gates_rollback != "automatic"
        ):
            return
        announced = self.announced.get(CHAMPION)
        try:
            await models.rollback(
                self._settings, author=AUTHOR, note=one_line(why, 500), based_on=announced.revision if announced is not None else 0
            )
        except UserError as error:
            log.warning("a promotion was not taken back", why=str(error))
        else:
            self.done += 1
            log.warning("a promotion was taken back", model=champion, why=why)

    def _changed_mind(self, against: str, judged: str) -> bool:
        """Whether labels changed since a model was judged."""
        held = self._seen.get((against, judged))
        return held is not None and held[1] != self.labels.changed

    async def _look(
        self, subject: str, roles: dict[str, str], *, last: GateReport | None, final: bool, question: bool = True
    ) -> GateReport | None:
        """Judge where there is more evidence than at the last time, and write it down; None: there is not.

        Parameters
        ----------
        subject : str
            The model that is judged.
        roles : dict
            Role → model: what it is held against, then the one that is judged, and a baseline where there is one.
        """
        if not self.evidence.fresh(roles, self.labels) and not final:
            return None
        alerts = self.evidence.alerts(roles, self.labels, least=self._settings.gates_confidence)
        against, judged, *others = (alerts.scores[role] for role in roles)
        differ = gates.gain(against, judged) > 0
        labelled = [label is not None for label in alerts.labels]
        decided = sum(a and b for a, b in zip(differ.tolist(), labelled, strict=True))
        now = look(self._thresholds, alerts=len(labelled), disagreements=decided, labels=sum(labelled))
        pair = against.model, judged.model
        before, changed = self._seen.setdefault(
            pair, (look_of(self._thresholds, last) if last is not None else (-1, -1, -1), self.labels.changed)
        )
        if not more(now, before) and changed == self.labels.changed and not final:
            return None
        self._seen[pair] = now, self.labels.changed
        report = await asyncio.to_thread(
            gates.judge, against, judged, baseline=others[0] if others else None, labels=alerts.labels, owners=alerts.owners,
            budget=self._settings.gates_false_calls,
            running=self.evidence.running(CHALLENGER, judged.model) if question else gates.UNKNOWN, thresholds=self._thresholds,
            final=final, judged_ms=self._now(),
        )  # fmt: skip
        if changed != self.labels.changed:
            report = replace(report, why=f"{report.why}; {self.labels.changed - changed} labels changed since")
        wanted = self._questions(alerts, roles, report=report) if question else []
        await self._write(report, subject=subject, wanted=wanted)
        log.info(
            "judged",
            model=subject,
            against=against.model,
            verdict=report.verdict,
            alerts=report.alerts,
            labels=report.labels,
            why=report.why,
        )
        return report

    def _questions(self, alerts: Alerts, roles: dict[str, str], *, report: GateReport) -> list[LabelWanted]:
        if report.verdict != WAITING or report.alerts < self._thresholds.alerts:
            return []
        asked = self.asked.setdefault(report.challenger, {})
        unanswered = sum(self.labels.of(survey, candid, object_id=name) is None for (survey, candid), name in asked.items())
        most = min(self._settings.gates_ask - unanswered, MOST_ASKED - len(asked))
        if most <= 0:
            return []
        against, judged, *others = (alerts.scores[role] for role in roles)
        held: list[str | None] = [
            label or ("asked" if key in asked else None) for label, key in zip(alerts.labels, alerts.names, strict=True)
        ]
        out: list[LabelWanted] = []
        for other in (*others, against):  # half of the questions are about the baseline, where there is one
            share = most // 2 if others and other is not against else most - len(out)
            chosen = gates.wanted(other, judged, labels=held, owners=alerts.owners, most=share, keys=alerts.keys)
            worth, called = gates.gain(other, judged), (gates.called(other), gates.called(judged))
            for i in chosen:
                held[i] = "asked"
                name = (*alerts.names[i], alerts.objects[i], alerts.packet_ids[i])
                said = "two models call it differently", called[0][i], called[1][i]
                out.append(LabelWanted(*name, *said, float(worth[i]), judged.model, report.judged_ms))
        return out

    async def _write(self, report: GateReport, *, subject: str, wanted: list[LabelWanted]) -> None:
        """Write a report and the questions that follow from it, all or nothing; what another gatekeeper has ended ends here."""
        revision = self.history.looks.get(subject, 0) + 1
        event = LoopEvent(GATES_JUDGED, subject, revision, AUTHOR, one_line(report.why, 1000), codec.encode(report), report.judged_ms)
        records = [(topics.LOOP_EVENTS, subject.encode(), codec.encode(event))]
        if wanted:
            note = f"{len(wanted)} labels would decide between {report.champion} and {report.challenger}"
            asking = LoopEvent(LABELS_WANTED, subject, revision, AUTHOR, note, b"", report.judged_ms)
            records.append((topics.LOOP_EVENTS, subject.encode(), codec.encode(asking)))
            records += [(topics.LABELS_WANTED, one.key, codec.encode(one)) for one in wanted]
        await self._send(records)
        self.history.take(event)
        for one in wanted:
            self.asked.setdefault(one.model, {})[one.survey, one.candid] = one.object_id
        self.done += len(records)

    async def _send(self, records: Iterable[tuple[str, bytes, bytes]]) -> None:
        try:
            async with self._producer.transaction():
                await asyncio.gather(*[await self._producer.send(topic, value, key=key) for topic, key, value in records])
        except IllegalOperation as error:  # what the client says between two records where the broker has fenced it
            raise ProducerFenced from error

    async def _promote(self, challenger: ModelAnnounced, report: GateReport) -> None:
        champion = self.announced.get(CHAMPION)
        try:
            await models.promote(
                self._settings, sha256=challenger.sha256, based_on=champion.revision if champion is not None else 0, author=AUTHOR,
                note=one_line(report.why, 500),
            )  # fmt: skip
        except (UserError, BundleError, EngineError) as error:
            log.warning("a challenger that passed was not promoted", model=challenger.model, why=str(error))
        else:
            self.done += 1
            log.info("promoted", model=challenger.model, why=report.why)


async def _ended(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
