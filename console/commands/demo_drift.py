"""A sky that changes under a running model → alarm, training, shadow, gates, promotion, refusal and rollback; exit status 0 if all came.

Kafka, a worker, drift, the trainer, the shadow with its gates and the status page are started as `protonova run` starts them; two processes
beside simulate the packets. Six acts: a stable stretch; the zero point moves; it is mended; a population appears that was never taught,
until a challenger that learnt it is promoted by the gates; a bad challenger; a bad promotion by hand. People are played by the truth table:
they label a few of the alerts, and answer what the gates ask. Everything else is the stream's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from console import report as reports
from console.commands.demo import own_settings
from console.commands.explain import clock
from console.commands.publish import Pace, Publisher
from console.commands.run import Supervisor
from console.drift_packets import NEWCOMER, PacketSource, Sky
from console.loop_counts import Follower, beside_truth, scores
from console.night_file import Made
from errors import RetryableError, UserError, one_line
from schemas.records.known_label import KnownLabel
from schemas.records.model_announced import CHAMPION, PREVIOUS
from streams.known_labels import read_wanted, write_labels
from streams.loop_history import Step, read_loop
from streams.models import announced, fetch, promote, submit

if TYPE_CHECKING:
    from settings.model import Settings

AT_ONCE = 100
"""Packets that are published before the loop is looked at."""
LOOK_EVERY = 2.0
"""How often the loop's topics are read [s]."""
LATE = 75
"""Looks after an act's last packet, before what was to come is taken not to."""
SETTLES = 6.0
"""After this the last packets of an act are in telemetry and seen by drift [s]."""
SHOWN = 220
"""Characters of a step that are printed as it comes; the timeline at the end has more."""
LEAST_RECALL, MOST_FALSE, MOST_LOST = 0.5, 0.02, 0.01
"""Recall and false calls of the new class, and the macro recall that the old ones may lose."""
PEOPLE = "demo truth"


@dataclass(frozen=True, slots=True)
class Strength:
    """How long the acts are at most [packets], and how much changes. The stable one is as long as drift needs to know the sky."""

    stable: int = 12_000
    instrument: int = 9000
    mended: int = 6000
    population: int = 30_000
    judged: int = 12_000
    after: int = 4000
    """Of fewer the macro recall of the old classes scatters by as much as it may lose."""
    refused: int = 12_000
    taken_back: int = 12_000
    magnitudes: float = 0.1
    share: float = 0.05
    labelled: float = 0.04
    """Of the alerts of the new sky, those that people label unasked."""
    settings: dict[str, Any] = field(default_factory=lambda: {"shadow_share": 0.25})


FULL = Strength()
SHORT = Strength(
    stable=8000, instrument=4000, mended=3000, population=16_000, judged=4000, after=4000, refused=4000, taken_back=4000, magnitudes=0.3,
    share=0.06, labelled=0.125,
    settings={"drift_settle_alerts": 1024, "shadow_share": 1.0, "shadow_core": 1.0, "gates_alerts": 200, "retrain_search": 12_000},
)  # fmt: skip
"""A larger zero point, fewer packets, more labels: for a test. The new class's share is not larger: of a window that it is learnt beside, a
twentieth may be called so at most (`learning.challengers.WINDOW_CALLS`), so that more of it would be found the less."""


@dataclass(slots=True)
class Act:
    """What came of one act."""

    title: str
    wanted: str
    begun: int
    """Packets published before it."""
    published: int = 0
    came: str = ""
    """What was to come, when it came; empty: it did not."""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether it came as it should."""
        return bool(self.came)


@dataclass(slots=True)
class Play:
    """The run as it goes."""

    settings: Settings
    console: Console
    strength: Strength
    follower: Follower
    publisher: Publisher
    started: float = field(default_factory=time.monotonic)
    truth: dict[int, Made] = field(default_factory=dict)
    published: int = 0
    acts: list[Act] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    labelled: int = 0
    kept: list[bytes] | None = None
    """Packets that are published, as long as they are asked for."""
    _shown: int = 0
    _looked: float = 0.0

    async def act(
        self, title: str, sky: Sky, *, most: int, wanted: str, until: Callable[[Act], Awaitable[str]], label: float = 0.0,
        whole: bool = False,
    ) -> Act:  # fmt: skip
        """Publish a sky until what is wanted has come, or so many packets are out.

        Parameters
        ----------
        title : str
        sky : Sky
        most : int
        wanted : str
            What is to come, in words.
        until : callable
            Looks at the loop; what came, empty while it has not.
        label : float
            Share of the alerts that people label at once.
        whole : bool
            Publish all of it, whatever comes: what is wanted is that nothing does.
        """
        act = Act(title, wanted, self.published)
        self.acts.append(act)
        began = time.monotonic()
        self.say(f"[bold]{title}[/bold]: {wanted}")
        folder = self.settings.state / "packets" / str(len(self.acts))
        with PacketSource(sky, folder) as source:
            while act.published < most and not act.came:
                await self._publish(await asyncio.to_thread(source.take, AT_ONCE), label=label)
                act.published += AT_ONCE
                if time.monotonic() - self._looked > LOOK_EVERY and not whole:
                    await self.look()
                    act.came = await until(act)
        await self.follower.until_all(self.published)
        for _ in range(1 if whole else LATE):  # what is still on its way through the loop
            if act.came:
                break
            await asyncio.sleep(SETTLES if whole else LOOK_EVERY)
            await self.look()
            act.came = await until(act)
        act.seconds = time.monotonic() - began
        self.say(f"  [{'green' if act.good else 'red'}]{act.came or 'it did not come'}[/] after {act.published:,} packets")
        return act

    async def look(self) -> None:
        """Read the loop, show what is new, answer what the gates ask."""
        self._looked = time.monotonic()
        self.steps = await read_loop(self.settings)
        for step in self.steps[self._shown :]:
            self.say(f"  [cyan]{step.kind.replace('_', ' ')}[/cyan] {step.subject[:20]}  ", one_line(step.text, SHOWN))
        self._shown = len(self.steps)
        await self._answer()

    def since(self, act: Act, *kinds: str) -> list[Step]:
        """Steps of these kinds that came in an act."""
        rows = self.follower.counts.rows
        begun = rows[act.begun - 1].appended_ms if 0 < act.begun <= len(rows) else 0
        return [step for step in self.steps if step.kind in kinds and step.at_ms >= begun]

    async def _publish(self, made: Sequence[Made], *, label: float) -> None:
        for item in made:
            self.truth[item.candid] = Made(b"", item.kind, item.label, item.object_id, item.candid, item.n_detections, item.detail)
            if self.kept is not None:
                self.kept.append(item.packet)
            await self.publisher.send(f"drift#{self.published}", item.packet, topic="alerts.ztf", key=item.object_id.encode())
            self.published += 1
        await self.follower.until_all(self.published)
        if label:
            every = max(round(1 / label), 1)
            await self._label([item for item in made if item.candid % every == 0])

    async def _answer(self) -> None:
        wanted = await read_wanted(self.settings)
        await self._label([self.truth[one.candid] for one in wanted if one.candid in self.truth])

    async def _label(self, made: Sequence[Made]) -> None:
        now = int(time.time() * 1000)
        labels = [KnownLabel("ztf", one.candid, one.object_id, one.label, PEOPLE, 1.0, "people", now) for one in made if one.label]
        if labels:
            await write_labels(self.settings, labels)
            self.labelled += len(labels)

    def say(self, text: str, plain: str = "") -> None:
        """Print a line of the timeline; `plain` holds no markup."""
        at = f"[dim]{time.monotonic() - self.started:6.1f} s[/dim]  "
        self.console.print(Text.from_markup(at + text) + Text(plain), highlight=False, soft_wrap=True)


def demo_drift(settings: Settings, *, seed: int, short: bool, report: Path | None, picture: Path | None, keep: bool) -> int:
    """Run the command; 1 if an act did not end as it should."""
    from console.commands.run_trainer import missing

    if found := missing():
        raise UserError(f"a loop that trains needs {', '.join(found)}: pip install 'protonova[train]'")
    reports.check_writable(report)
    reports.check_writable(picture)
    console, began = reports.output(), time.monotonic()
    strength = SHORT if short else FULL
    with own_settings(settings, keep=keep) as own:
        own = own.model_copy(
            update={"trainer": True, "shadow": True, "gates_promote": "automatic", "retrain_cooldown_s": 600.0, **strength.settings}
        )
        supervisor = Supervisor(own, fresh=True, report=lambda line: console.print(line, style="yellow", highlight=False, soft_wrap=True))
        try:
            supervisor.start()
            console.print(f"{time.monotonic() - began:6.1f} s  up; status page: {supervisor.status_page}", highlight=False, soft_wrap=True)
            play = asyncio.run(_play(supervisor.settings, console, seed=seed, strength=strength))
            drawn = picture or (report.with_suffix(".png") if report is not None else settings.state / "demo-drift.png")
            _report(play, report=report, picture=drawn, seconds=time.monotonic() - began, seed=seed, short=short)
        finally:
            supervisor.stop()
    return 0 if all(act.good for act in play.acts) and play.figures["good"] else 1


async def _play(settings: Settings, console: Console, *, seed: int, strength: Strength) -> Play:
    async with (
        Follower(settings) as follower,
        Publisher(settings, Pace(), headers=[("_test", b"true"), ("alert_tense", b"demo")]) as publisher,
    ):
        play = Play(settings, console, strength, follower, publisher)
        try:
            await _acts(play, seed)
        except RetryableError as error:
            console.print(f"the stream stands still: {error}", style="red")
            play.figures["good"] = False
        await play.look()
        return play


async def _acts(play: Play, seed: int) -> None:
    from console.commands.bad_challenger import spoilt

    settings, strength, folder = play.settings, play.strength, play.settings.state
    play.figures |= {"good": False, "packets": 0}

    async def no_alarm(act: Act) -> str:
        return "" if play.since(act, "alarm") else "no alarm"

    async def instrument(act: Act) -> str:
        alarms = [step for step in play.since(act, "alarm") if "instrument: zero point" in step.text]
        return f"alarm: {alarms[0].text}" if alarms else ""

    async def promoted(act: Act) -> str:
        steps = [step for step in play.since(act, "promoted") if step.author != "people"]
        return f"model {steps[-1].subject} is promoted" if steps else ""

    async def mended(act: Act) -> str:
        ordered = play.since(play.acts[1], "command")
        return "" if ordered else "no training was commanded"

    await play.act("A stable sky", Sky(seed), most=strength.stable, wanted="no alarm", until=no_alarm, whole=True)
    await play.act(
        f"The zero point moves by {strength.magnitudes:g} mag", Sky(seed + 1, f"zero-point:{strength.magnitudes:g}"),
        most=strength.instrument, wanted="the alarm “instrument: zero point”", until=instrument,
    )  # fmt: skip
    await play.act("It is calibrated again", Sky(seed + 2), most=strength.mended, wanted="no training", until=mended, whole=True)
    act = await play.act(
        f"{100 * strength.share:.0f} % of the alerts are of a class that was never taught", Sky(seed + 3, share=strength.share),
        most=strength.population + strength.judged, until=promoted, label=strength.labelled,
        wanted="the alarm “population”, one command, a challenger, its shadow, labels, and its promotion by the gates",
    )  # fmt: skip
    if not act.good:
        return
    champion = (await announced(settings))[CHAMPION]
    await _settled(play, champion.model)
    play.kept = []
    act = await play.act(
        "The same sky, by the new champion", Sky(seed + 4, share=strength.share), most=strength.after, until=no_gap(play),
        wanted="the new class is found (recall ≥ .5, false calls ≤ 2 %), the old ones as before (macro within .01)", whole=True,
    )  # fmt: skip
    play.kept = None
    play.figures |= {"commands": len(play.since(play.acts[3], "command")), "labelled": play.labelled}
    play.figures["good"] = play.figures["commands"] == 1

    bad = await asyncio.to_thread(spoilt, await _folder(settings, CHAMPION), folder / "bad")
    submitted = await submit(settings, bad, author="people", note="a head that was fitted to wrong labels")

    async def refused(act: Act) -> str:
        judged = [s for s in play.since(act, "gates_judged") if s.subject == submitted.model and s.text.startswith("refused")]
        return f"the gates: {judged[-1].text}" if judged else ""

    await play.act(
        "A bad challenger", Sky(seed + 5, share=strength.share), most=strength.refused, wanted="the gates refuse it", until=refused,
        label=strength.labelled,
    )  # fmt: skip
    champion = (await announced(settings))[CHAMPION]
    await promote(settings, sha256=submitted.sha256, based_on=champion.revision, author="people", note="by hand, against the gates")

    async def back(act: Act) -> str:
        steps = play.since(act, "rolled_back")
        return f"model {steps[-1].subject} is the champion again: {steps[-1].text}" if steps else ""

    await play.act(
        "It is promoted by hand all the same", Sky(seed + 6, share=strength.share), most=strength.taken_back, until=back,
        label=strength.labelled, wanted="the model before it takes its place again, by itself",
    )  # fmt: skip


def no_gap(play: Play) -> Callable[[Act], Awaitable[str]]:
    """Whether the new champion finds the new class, and the old ones as well as the model before it does on the same packets."""

    async def look(act: Act) -> str:
        rows = play.follower.counts.rows[act.begun :]
        after = scores(beside_truth(rows, play.truth), NEWCOMER)
        called = await asyncio.to_thread(_called_by, await _folder(play.settings, PREVIOUS), play.kept or [])
        before = scores([(play.truth[candid].label, name) for candid, name in called], NEWCOMER)
        play.figures |= {"before": before._asdict(), "after": after._asdict()}
        text = (
            f"{NEWCOMER}: recall {before.recall:.2f} → {after.recall:.2f} of {after.new}, false calls {100 * after.false_calls:.2f} %; "
            f"macro recall of the old classes {before.macro:.3f} → {after.macro:.3f}"
        )
        good = after.recall >= LEAST_RECALL and after.false_calls <= MOST_FALSE and after.macro >= before.macro - MOST_LOST
        if not good:
            play.say("  ", text)
        return text if good else ""

    return look


def _called_by(folder: Path, packets: Sequence[bytes]) -> list[tuple[int, str]]:
    """Candid and class of each packet, by another bundle than the one that scores now."""
    from pipeline.score import score
    from pipeline.state import load
    from schemas.records.detection import Detection

    state = load(folder, "onnxruntime")
    found = [one for start in range(0, len(packets), 64) for one in score(packets[start : start + 64], state)]
    return [(one.candid, one.top_class) for one in found if isinstance(one, Detection)]


async def _settled(play: Play, model: str, *, within: float = 60.0) -> None:
    """Wait until the worker scores with a model: it says so in what it publishes."""
    deadline = time.monotonic() + within
    with PacketSource(Sky(1), play.settings.state / "packets" / "settle") as source:
        while time.monotonic() < deadline:
            await play._publish(await asyncio.to_thread(source.take, 20), label=0.0)
            if play.follower.counts.rows[-1].model == model:
                return
            await asyncio.sleep(1.0)
    raise RetryableError(f"the worker does not score with {model} after {within:.0f} s")


async def _folder(settings: Settings, alias: str) -> Path:
    return await fetch(settings, (await announced(settings))[alias])


def _report(play: Play, *, report: Path | None, picture: Path, seconds: float, seed: int, short: bool) -> None:
    console = play.console
    table = reports.table()
    for title in ("act", "what was to come", "what came", "packets"):
        table.add_column(title)
    for k, act in enumerate(play.acts, 1):
        table.add_row(
            f"{k}. {act.title}", act.wanted, Text(act.came or "it did not come", "green" if act.good else "red"), f"{act.published:,}"
        )
    reports.show(console, "The acts", table)
    timeline = reports.table()
    for title in ("when (UTC)", "step", "of", "what", "by"):
        timeline.add_column(title)
    for step in play.steps:
        timeline.add_row(
            clock(step.at_ms)[11:], step.kind.replace("_", " "), step.subject[:20], reports.cell(step.text, limit=900), step.author
        )
    reports.show(console, "The timeline, as `protonova history` reads it from the topics", timeline)
    from console.loop_picture import draw

    drawn = draw(play.follower.counts.rows, play.truth, acts=play.acts, steps=play.steps, path=picture)
    console.print(
        f"picture: {drawn}" if drawn else "no picture: matplotlib is not installed (pip install 'protonova[plots]')", soft_wrap=True
    )
    console.print(f"{play.published:,} packets, {play.labelled} labels by people, wall time {seconds:.0f} s", highlight=False)
    reports.write(
        report,
        {
            "command": "demo --drift", "packets": play.published, "detections": len(play.follower.counts.rows), "duplicates": 0,
            "skipped": {}, "rejected": play.follower.counts.rejected, "seed": seed, "short": short, "seconds": seconds,
            "acts": [
                {"title": a.title, "wanted": a.wanted, "came": a.came, "packets": a.published, "seconds": a.seconds} for a in play.acts
            ],
            "figures": play.figures,
            "steps": [
                {"at_ms": s.at_ms, "kind": s.kind, "subject": s.subject, "text": s.text, "author": s.author} for s in play.steps
            ],
        },
    )  # fmt: skip
