"""What the gates promote and take back stands in MLflow, too: also what a gatekeeper that was killed had promoted and not noted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from registry import ledger
from schemas.records.model_announced import CHAMPION, PREVIOUS
from schemas.taxonomy import SLUGS
from settings.announced_models import ledger_uri
from streams.agents.gatekeeper import AUTHOR, Gatekeeper
from streams.kafka import topics
from streams.models import promote, rollback, submit
from tests.flow.conftest import Bench
from tests.flow.gate_models import tempered


@pytest.mark.slow  # MLflow makes its tables by every step of their history
@pytest.mark.timeout(300)
@pytest.mark.skipif(not ledger.installed(), reason="MLflow is not installed")
async def test_the_ledger_follows_what_the_gates_do(bench: Bench, tmp_path: Path) -> None:
    settings = bench.settings.model_copy(update={"ledger": None})
    uri = ledger_uri(settings)
    assert uri is not None
    await topics.declare(settings, SLUGS)
    first = await submit(settings, tempered(tmp_path / "first", 3.0), author="ada")
    await promote(settings, sha256=first.sha256, based_on=0, author="ada")
    second = await submit(settings, tempered(tmp_path / "second", 1.0), author="ada")
    await promote(settings, sha256=second.sha256, based_on=first.revision + 1, author=AUTHOR, note="and then it was killed")
    task = asyncio.create_task(Gatekeeper(settings).run())

    async def stands(expected: dict[str, str]) -> None:
        deadline = time.monotonic() + 120
        while (found := await asyncio.to_thread(ledger.aliases, uri)) != expected:
            if task.done():
                task.result()
            assert time.monotonic() < deadline, found
            await asyncio.sleep(1.0)

    try:
        await stands({CHAMPION: second.sha256, PREVIOUS: first.sha256})
        await rollback(settings, author=AUTHOR, note="surely worse")
        await stands({CHAMPION: first.sha256, PREVIOUS: second.sha256})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
