"""A challenger that cost more is held against a head made anew as well: better than the champion alone is not enough."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from data.simulate.night import night
from schemas.records import codec
from schemas.records.gate_report import WAITING, GateReport
from schemas.records.loop_event import GATES_JUDGED
from schemas.records.model_announced import BASELINE, CHALLENGER, CHAMPION
from schemas.taxonomy import SLUGS
from streams.agents.gatekeeper import Gatekeeper
from streams.agents.teaching import read_events
from streams.kafka import topics
from streams.known_labels import write_labels
from streams.models import announced, promote, submit
from tests.flow import real_worker
from tests.flow.conftest import Bench
from tests.flow.gate_models import tempered
from tests.flow.test_gates_flow import labels_of

ALERTS = 212


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_challenger_no_better_than_the_head_made_anew_is_not_promoted(bench: Bench, tmp_path: Path) -> None:
    settings = bench.settings.model_copy(
        update={"gates_promote": "automatic", "gates_alerts": 100, "shadow_share": 1.0, "shadow_core": 1.0, "ledger": "off"}
    )
    await topics.declare(settings, SLUGS)
    packets = list(night(7, ALERTS, duplicates=0, broken=0))
    await write_labels(settings, labels_of(truth for _, truth in packets))
    champion = await submit(settings, tempered(tmp_path / "unsure", 3.0), author="ada")
    await promote(settings, sha256=champion.sha256, based_on=0, author="ada")
    good, head = tempered(tmp_path / "good", 1.0), tempered(tmp_path / "head", 1.0, seed=2)

    challenger = await submit(settings, good, author="ada", baseline=head)
    known = await announced(settings)
    assert known[BASELINE].revision == known[CHALLENGER].revision == challenger.revision
    assert known[BASELINE].sha256 != challenger.sha256

    bench.start(program=real_worker.__file__)
    await bench.ready()
    await bench.publish(packet for packet, _ in packets)
    task = asyncio.create_task(Gatekeeper(settings).run())
    try:
        deadline, report = time.monotonic() + 180, None
        while report is None or report.alerts < 200:
            if task.done():
                task.result()
            assert time.monotonic() < deadline, report
            await asyncio.sleep(0.5)
            judged = [codec.expect(e.record, GateReport) for e in await read_events(settings) if e.event == GATES_JUDGED]
            report = judged[-1] if judged else None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (report.champion, report.challenger, report.baseline) == (champion.model, challenger.model, known[BASELINE].model)
    assert report.verdict == WAITING
    assert report.why == "not shown to be better than the head made anew"
    assert (await announced(settings))[CHAMPION].sha256 == champion.sha256

    await promote(settings, sha256=challenger.sha256, based_on=champion.revision + 1, author="ada")
    assert BASELINE not in await announced(settings), "it goes with the challenger"
