"""Schemathesis over the API's description: requests that fit it and requests that do not; no fault of ours, no answer it does not name.

The service has a history and a model and no broker, as `protonova api` without `PROTONOVA_KAFKA` beside a historian's folder: what needs
the broker is answered 503, which is described.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from data.history.sqlite_reader import SqliteReader
from pipeline.state import load
from service.api.broker_facts import BrokerFacts
from service.api.scorers import Scorers
from settings.model import Settings
from streams.scorer import Pipeline, StateHolder
from tests.service.api_client import Api
from tests.service.past_night import alert, write

MODES = ("positive", "negative")
BEYOND = (401, 414)
"""Statuses of refusals that Schemathesis' check of refusals does not know: a parameter too long for an address is one."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("fuzz")
    writer = write(folder / "history", [alert(i, f"ZTF25{'ab'[i % 2]}", ra=150.0 + i % 2 / 100, programid=1 + i % 2) for i in range(20)])
    reader = SqliteReader(folder / "history")
    pipeline = Pipeline(load(None, "onnxruntime"))

    @asynccontextmanager
    async def scoring(app: Any) -> AsyncIterator[None]:
        found.services.scorers = scorers = Scorers(found.settings, pipeline, holder=StateHolder(pipeline))
        scorers.start()
        yield
        await scorers.stop()

    found = Api(folder, history=reader, facts=BrokerFacts(Settings(state=folder / "state")), lifespan=scoring)
    yield found
    reader.close()
    writer.close()


def asked(api: Api, *, examples: int) -> Counter[tuple[str, str, int]]:
    """Ask every operation; how often each answered what. Fails at the first answer that is not as described."""
    import schemathesis
    from schemathesis.python.asgi import get_client

    schema: Any = schemathesis.openapi.from_asgi("/v1/openapi.json", api.app, headers={"Host": "127.0.0.1"})
    schema.config.update(base_url="http://127.0.0.1")
    headers = {"Authorization": f"Bearer {api.key(private=True)}"}
    found: Counter[tuple[str, str, int]] = Counter()
    app: Any = api.app
    with get_client(app) as session:
        for operation, mode in product([result.ok() for result in schema.get_all_operations()], MODES):
            for status in statuses(operation, mode, sent={"session": session, "headers": headers}, examples=examples):
                found[operation.label, mode, status] += 1
    return found


def statuses(operation: Any, mode: str, *, sent: dict[str, Any], examples: int) -> list[int]:
    """Ask one operation with requests that fit the description, or with others; the statuses."""
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    # 503 of a part that is not there is described; what else is 5xx fails here. Not every text that fits a field's type names something.
    left_out = [not_a_server_error, positive_data_acceptance]
    found = []

    @seed(17)
    @given(case=operation.as_strategy(generation_mode=GenerationMode(mode)))
    @settings(max_examples=examples, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def one(case: Any) -> None:
        answer = case.call(**sent)
        found.append(answer.status_code)
        assert answer.status_code < 500 or answer.status_code == 503, (case.as_curl_command(), answer.text)
        if answer.status_code in BEYOND:
            assert str(answer.status_code) in operation.definition.raw["responses"]
        else:
            case.validate_response(answer, excluded_checks=left_out, headers=sent["headers"])

    one()
    return found


def check(found: Counter[tuple[str, str, int]], operations: int) -> None:
    """Whether every operation was asked, and not only in vain."""
    assert len({label for label, _, _ in found}) == operations
    fine = {label for label, mode, status in found if mode == "positive" and status < 300}
    assert {"GET /v1/cone", "POST /v1/cone", "GET /v1/alerts", "GET /v1/classes", "GET /v1/whoami", "POST /api/cone/"} <= fine


def operations_of(api: Api) -> int:
    from service.api.openapi import describe
    from service.api.routes import ENDPOINTS

    return sum(len(methods) for methods in describe(ENDPOINTS, version="0")["paths"].values())


@pytest.mark.slow
def test_no_request_meets_a_fault_or_an_answer_that_is_not_described(api: Api) -> None:
    check(asked(api, examples=3), operations_of(api))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_no_request_of_many_does(api: Api) -> None:
    check(asked(api, examples=60), operations_of(api))
