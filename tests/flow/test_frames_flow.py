"""Raw frames on a real broker: each ends once, as announced or rejected, through kills, missing masters, changed files, dead stores."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka.errors import ProducerFenced

from console.child import Child
from console.commands import positions
from console.commands.run import Supervisor
from console.frame_record import claim_of
from data.simulate.frames.observing_run import SimulatedFrame
from errors import UserError
from schemas.records import codec
from schemas.records.calibrated_frame import CalibratedFrame
from schemas.records.codec import decode_detection
from schemas.records.master_frame import MasterFrame
from schemas.records.photometry_measured import PhotometryMeasured
from schemas.records.photometry_position import PhotometryPosition
from schemas.surveys.decode import Decoder
from settings.model import Settings
from streams.agents import frame_stage, masters_watch
from streams.agents.redrive import redrive
from streams.frame_wiring import FrameWork
from streams.kafka import exactly_once, topics
from streams.photometry_positions import read_positions
from tests.flow import killed_calibrator
from tests.flow.conftest import Bench, header, until
from tests.flow.frame_night import Night, make_night
from tests.flow.test_increments_flow import committed_records

OUTPUTS = (topics.FRAMES_CALIBRATED, topics.REJECTED, topics.FRAME_ALERTS, topics.PHOTOMETRY_MEASURED, topics.PHOTOMETRY_POSITIONS)

RUNNING: list[asyncio.Task[None]] = []
"""Of `working`: one that ended has failed."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return make_night(tmp_path_factory.mktemp("night"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "FENCED_PAUSE"):
        monkeypatch.setattr(exactly_once, name, 0.3)
    monkeypatch.setattr(frame_stage, "LOOK_EVERY", 0.3)
    monkeypatch.setattr(masters_watch, "POLL_MS", 200)


def with_frames(bench: Bench, night: Night, **more: Any) -> Settings:
    found = {"frames": True, "frames_masters": night.masters, "frames_references": night.references, **more}
    return bench.settings.model_copy(update=found)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[FrameWork]:
    """Calibrator and differencer in this process."""
    work = FrameWork(settings)
    task = asyncio.create_task(work.run())
    RUNNING.append(task)
    try:
        yield work
        assert not task.done(), task
    finally:
        RUNNING.remove(task)
        task.cancel()
        await asyncio.wait([task])
        work.executor.shutdown()


async def outputs(settings: Settings) -> dict[str, list[Any]]:
    return {topic: await committed_records(settings, topic) for topic in OUTPUTS}


async def ended(settings: Settings, raw: int, within: float = 150.0) -> dict[str, list[Any]]:
    """The outputs, once so many raw frames have an outcome and every announced one is differenced or rejected."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        calibrated = len(await committed_records(settings, topics.FRAMES_CALIBRATED))
        rejected = Counter(header(m, "topic") for m in await committed_records(settings, topics.REJECTED))
        positions = await exactly_once.read_positions(settings, "(differencer)")
        done = sum(offset for (topic, _), offset in positions.items() if topic.startswith(topics.FRAMES_CALIBRATED))
        if calibrated + rejected[topics.FRAMES_RAW] >= raw and done >= await end_of(settings, topics.FRAMES_CALIBRATED):
            return await outputs(settings)
        assert not any(task.done() for task in RUNNING), RUNNING
        assert asyncio.get_running_loop().time() < deadline, f"{calibrated} calibrated, {rejected} rejected, {done} differenced of {raw}"
        await asyncio.sleep(0.2)


async def end_of(settings: Settings, topic: str) -> int:
    """Offset behind the last committed record of a topic with one partition."""
    found = await committed_records(settings, topic)
    return int(found[-1].offset) + 1 if found else 0


def announced(found: dict[str, list[Any]]) -> list[CalibratedFrame]:
    return [codec.expect(m.value, CalibratedFrame) for m in found[topics.FRAMES_CALIBRATED]]


def reasons(found: dict[str, list[Any]], topic: str) -> Counter[str | None]:
    return Counter(header(m, "error_class") for m in found[topics.REJECTED] if header(m, "topic") == topic)


def check_once(found: dict[str, list[Any]]) -> None:
    """Nothing was announced, sent or measured twice, and every announcement is of the file that lies there."""
    frames = announced(found)
    assert max(Counter((f.frame_id, f.detector) for f in frames).values()) == 1
    for frame in frames:
        assert claim_of(Path(frame.uri.removeprefix("file://"))).sha256 == frame.sha256
    packets = [m.value for m in found[topics.FRAME_ALERTS]]
    assert len(set(packets)) == len(packets)
    decoded = Decoder().decode(packets)
    assert not decoded.rejected
    assert len(set(decoded.batch.candid)) == len(packets)
    measured = [codec.expect(m.value, PhotometryMeasured) for m in found[topics.PHOTOMETRY_MEASURED]]
    assert max(Counter((m.position, m.frame_id, m.detector) for m in measured).values()) == 1
    known = {codec.expect(m.value, PhotometryPosition).name for m in found[topics.PHOTOMETRY_POSITIONS]}
    assert {m.position for m in measured} <= known
    assert set(decoded.batch.object_id) <= known


def mishaps(frames: Sequence[SimulatedFrame]) -> Counter[str]:
    return Counter(f.exposure.mishap for f in frames)


async def test_a_night_ends_each_frame_once_and_injected_objects_are_alerts(bench: Bench, night: Night) -> None:
    settings = with_frames(bench, night)
    broken = [night.files()[0][:6000], b"no frame"]
    async with working(settings) as work:
        await bench.publish([*night.files(), *broken], topics.FRAMES_RAW)
        found = await ended(settings, len(night.frames) + len(broken))
        states = {flow.state().source: flow.state() for flow in work.flows}
    check_once(found)
    assert reasons(found, topics.FRAMES_RAW) == {"bad_frame": 2}
    assert len(announced(found)) == len(night.frames)
    assert reasons(found, topics.FRAMES_CALIBRATED) == {"no_wcs": 1, "saturated_frame": 1}
    assert (states["(calibrator)"].copied, states["(calibrator)"].rejected) == (len(night.frames), 2)
    assert states["(differencer)"].copied == len(night.frames) - 2
    # What was injected well above the noise is found at its place, with its flux.
    decoded = Decoder().decode([m.value for m in found[topics.FRAME_ALERTS]]).batch
    bright = [row for f in night.frames for row in f.truth if row.measurable and abs(row.snr) > 15]
    hits = 0
    for row in bright:
        for k, mjd in enumerate(np.asarray(decoded.mjd).tolist()):
            near = abs(mjd - row.mjd) < 1e-4 and abs(decoded.ra[k] - row.ra) < 5e-4 and abs(decoded.dec[k] - row.dec) < 5e-4
            hits += bool(near)
    assert hits >= 0.3 * len(bright) > 0  # of a reference of one exposure; how many are found is `evaluation.frames`' to say
    # An object that is seen again is the same object, with a history.
    assert max(Counter(decoded.object_id).values()) >= 2
    # The state is made anew from the topics, and is the same.
    before = work.differencer.state
    again = FrameWork(settings)
    task = asyncio.create_task(again.run())
    try:
        await until(lambda: again.flows[1].state().state == "running", 60)
        after = again.differencer.state
        assert after.positions == before.positions
        assert after.counts() == before.counts()
        for frame in announced(found):
            assert after.histories(frame, after.positions) == before.histories(frame, before.positions)
            assert after.coverage(frame) == before.coverage(frame)
    finally:
        task.cancel()
        await asyncio.wait([task])
        again.executor.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_kills_at_every_place_double_and_lose_nothing(bench: Bench, night: Night, tmp_path: Path) -> None:
    settings = with_frames(bench, night, frames_folder=tmp_path / "calibrated")
    async with working(with_frames(bench, night)):
        await bench.publish(night.files(), topics.FRAMES_RAW)
        expected = await ended(settings, len(night.frames))
    async with topics.admin_client(settings) as admin:
        from tests.flow.conftest import clear

        await clear(admin)
    await topics.declare(settings, [])
    await bench.publish(night.files(), topics.FRAMES_RAW)
    log = settings.state / "logs" / "killed.log"
    where = {"PYTHONPATH": str(Path(__file__).parents[2]), **settings.environment()}

    def start(place: str, number: int) -> Child:
        return Child([sys.executable, killed_calibrator.__file__, place, str(number)], log, environment=where)

    for place, number in (("file", 2), ("sent", 2), ("committed", 2), ("sent", 1), ("file", 1)):
        child = start(place, number)
        try:
            await until(lambda child=child: child.poll() is not None, 90, log.read_text)  # type: ignore[misc]
            assert child.poll() == -signal.SIGKILL, log.read_text()
        finally:
            child.kill()
    child = start("", 0)
    try:
        found = await ended(settings, len(night.frames))
    finally:
        child.kill()
    check_once(found)
    assert Counter((f.frame_id, f.detector) for f in announced(found)) == Counter((f.frame_id, f.detector) for f in announced(expected))
    assert reasons(found, topics.FRAMES_CALIBRATED) == reasons(expected, topics.FRAMES_CALIBRATED)
    # What the alerts say does not depend on the kills, to the bit.
    assert {m.value for m in found[topics.FRAME_ALERTS]} == {m.value for m in expected[topics.FRAME_ALERTS]}


def master_records(folder: Path) -> list[MasterFrame]:
    """The masters of a folder as they are announced."""
    from data.frames.masters_folder import MastersFolder

    out = []
    for entry in MastersFolder(folder).entries():
        claim, label = claim_of(Path(entry.uri)), entry.label
        gain, temperature, exposure = (None if math.isnan(f) else f for f in (label.gain, label.temperature, label.exposure))
        out.append(
            MasterFrame(
                label.kind,
                label.detector,
                label.filter,
                label.binning,
                gain,
                temperature,
                exposure,
                label.valid_from,
                label.valid_to,
                claim.uri,
                claim.length,
                claim.sha256,
                label.n_frames,
                1000,
                label.overscan,
            )
        )
    return out


async def test_a_frame_without_master_is_re_driven_when_it_is_announced(bench: Bench, night: Night, tmp_path: Path) -> None:
    settings = with_frames(bench, night, frames_masters=tmp_path / "none", frames_prefixes=(night.masters.as_uri() + "/",))
    mine = night.files(detector="ccd1")[:2]
    records = [r for r in master_records(night.masters) if r.detector == "ccd1"]

    async def announce(*chosen: MasterFrame) -> None:
        async with bench.producer() as producer:
            for record in chosen:
                await producer.send_and_wait(topics.MASTERS, codec.encode(record), key=record.key)

    async with working(settings) as work:
        await bench.publish(mine, topics.FRAMES_RAW)
        found = await ended(settings, 2)
        assert reasons(found, topics.FRAMES_RAW) == {"no_master": 2}
        said = header(found[topics.REJECTED][0], "reason") or ""
        assert "ccd1" in said
        assert "night 20" in said
        await announce(*(r for r in records if r.kind == "bias"), *(r for r in records if r.kind == "dark"))
        await asyncio.sleep(2)  # which is not enough yet
        assert len(await committed_records(settings, topics.FRAMES_RAW)) == 2
        await until(lambda: work.masters.waiting == 2, 30)
    async with working(settings) as work:  # another process knows who waits, too
        await until(lambda: work.masters.waiting == 2, 30)
        await announce(*(r for r in records if r.kind == "flat"))
        found = await ended(settings, 4)
        assert work.masters.waiting == 0
    assert len(announced(found)) == 2
    assert await redrive(settings, reasons=["no_master"]) is not None
    assert len(await committed_records(settings, topics.FRAMES_RAW)) == 4, "each was re-driven once"


async def test_a_changed_file_and_one_outside_the_prefixes_are_rejected_and_a_store_that_is_down_is_waited_for(
    bench: Bench, night: Night, tmp_path: Path
) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    store.mkdir()
    other.mkdir()
    settings = with_frames(bench, night, frames_prefixes=(store.as_uri() + "/",))
    files = night.files(detector="ccd1")
    paths = [store / "good.fits", store / "changed.fits", other / "outside.fits", store / "late.fits"]
    for path, content in zip(paths, files, strict=False):
        path.write_bytes(content)
    claims = [codec.encode(claim_of(path)) for path in paths]
    paths[1].write_bytes(files[1][:-2880] + bytes(2880))
    async with working(settings) as work:
        await bench.publish(claims[:3], topics.FRAMES_RAW)
        found = await ended(settings, 3)
        assert reasons(found, topics.FRAMES_RAW) == {"claim_changed": 1, "claim_refused": 1}
        store.rename(tmp_path / "unmounted")
        await bench.publish(claims[3:], topics.FRAMES_RAW)
        await until(lambda: "waiting" in work.flows[0].state().error, 30)
        await asyncio.sleep(1)
        assert len(await committed_records(settings, topics.REJECTED)) == 2
        (tmp_path / "unmounted").rename(store)
        found = await ended(settings, 4)
    assert len(announced(found)) == 2


def without_fenced(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """asyncio's own handler, which says nothing of a fenced producer; see test_increments_faults_flow."""
    if not isinstance(context.get("exception"), ProducerFenced):
        loop.default_exception_handler(context)


async def test_a_second_process_takes_over_and_nothing_comes_twice(
    bench: Bench, night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.get_running_loop().set_exception_handler(without_fenced)
    monkeypatch.setattr(exactly_once, "FENCED_PAUSE", 2.0)
    settings = with_frames(
        bench, night, frames_folder=tmp_path / "calibrated"
    )  # which both have, as where one takes over on a machine beside
    files = night.files()
    async with working(settings):
        await bench.publish(files[:3], topics.FRAMES_RAW)
        await ended(settings, 3)
        async with working(settings.model_copy(update={"state": settings.state / "other"})):
            for file in files[3:]:
                await bench.publish([file], topics.FRAMES_RAW)
                await asyncio.sleep(0.5)  # they fence each other meanwhile
            found = await ended(settings, len(files))
    check_once(found)
    assert len(announced(found)) == len(files)


async def test_a_listed_position_is_measured_on_every_frame_from_then_on(bench: Bench, night: Night) -> None:
    settings = with_frames(bench, night)
    frames = [f for f in night.frames if f.detector == "ccd1" and f.exposure.mishap in ("", "trail")]
    later = {row.object_id: row for row in frames[1].truth if row.measurable}
    row = next(row for row in frames[0].truth if row.measurable and row.object_id in later)
    listed = positions.one("listed-1", {"ra": row.ra, "dec": row.dec})
    elsewhere = positions.one("listed-1", {"ra": row.ra, "dec": row.dec + 0.1})
    async with working(settings):
        await bench.publish([frames[0].file], topics.FRAMES_RAW)
        await ended(settings, 1)
        for _ in range(2):  # again: it is measured already
            assert await asyncio.to_thread(positions.add, settings, [listed]) == 0
        with pytest.raises(UserError, match="at another place"):
            await asyncio.to_thread(positions.add, settings, [elsewhere])
        await bench.publish([frames[1].file], topics.FRAMES_RAW)
        found = await ended(settings, 2)
    measured = [codec.expect(m.value, PhotometryMeasured) for m in found[topics.PHOTOMETRY_MEASURED]]
    assert [m.frame_id for m in measured if m.position == "listed-1"] == [frames[1].exposure.frame_id]
    assert (await read_positions(settings))["listed-1"] == listed
    assert await asyncio.to_thread(positions.remove, settings, ["listed-1"]) == 0
    assert "listed-1" not in await read_positions(settings)
    with pytest.raises(UserError, match="not measured"):
        await asyncio.to_thread(positions.remove, settings, ["listed-1"])


@pytest.mark.slow
async def test_run_starts_the_calibrator_and_workers_score_its_alerts(bench: Bench, night: Night) -> None:
    settings = with_frames(bench, night, status_port=0)
    supervisor = Supervisor(settings)
    await asyncio.to_thread(supervisor.start)
    try:
        await bench.publish(night.files(detector="ccd1"), topics.FRAMES_RAW)
        found = await ended(settings, len(night.files(detector="ccd1")))
        await bench.all_committed()
        packets = found[topics.FRAME_ALERTS]
        scored = [decode_detection(m.value) for m in await committed_records(settings, topics.DETECTIONS)]
        rejected = reasons(await outputs(settings), topics.FRAME_ALERTS)
    finally:
        await asyncio.to_thread(supervisor.stop)
    assert not rejected
    assert len(scored) == len(packets) > 0
    assert {d.survey for d in scored} == {"frames"}
    assert {d.object_id.encode() for d in scored} == {m.key for m in packets}
