"""A repeat of a push gets the first one's answer, whichever process is asked, and after a restart."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.surveys.decode import Decoder
from service.api.resources import push_alerts
from service.ingest.intake import Intake
from service.ingest.remembered import KEPT
from service.ingest.shared_pushes import IN_HAND, SharedPushes
from settings.model import Settings
from tests.service.api_client import Api
from tests.service.test_api_push import OCTETS, Acks, packets

__all__ = ["packets"]


class Two:
    """Two APIs as two processes of one state folder have them."""

    def __init__(self, folder: Path) -> None:
        self.acks = [Acks(), Acks()]
        self.files = [SharedPushes(folder / "api" / "pushes.sqlite") for _ in range(2)]
        self.files[1]._own = os.getppid()  # another process that runs
        self.apis = [Api(folder / str(i), push_alerts.ROWS) for i in range(2)]
        self.key = self.apis[0].key("push")
        self.apis[1].ring.replace(self.apis[0].ring.records)
        for api, acks, file in zip(self.apis, self.acks, self.files, strict=True):
            api.services.intake = Intake(Settings(kafka="127.0.0.1:1"), Decoder(), shared=file)
            api.services.intake._producer = acks

    async def push(self, which: int, packet: bytes, name: str | None = None) -> tuple[int, list[tuple[str, str, bool]]]:
        named = {} if name is None else {"Idempotency-Key": name}
        async with self.apis[which].client(self.key) as client:
            answer = await client.post("/v1/alerts/ztf", content=packet, headers={**OCTETS, **named})
        rows = answer.json().get("data", ()) if answer.status_code == 202 else ()
        return answer.status_code, [(row["packet_id"], row["offset"], row["repeated"]) for row in rows]


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


async def test_a_repeat_gets_the_first_answer_from_the_other_process(two: Two, packets: list[bytes]) -> None:
    for name in ("night 7", None):
        packet = packets[0 if name else 1]
        status, [first] = await two.push(0, packet, name)
        assert (status, first[2]) == (202, False)
        assert await two.push(1, packet, name) == (202, [(*first[:2], True)])
        assert await two.push(1, packet, name) == (202, [(*first[:2], True)])
    assert (await two.push(1, packets[2], "night 7"))[0] == 422
    assert [len(acks.sent) for acks in two.acks] == [2, 0]
    assert (await two.push(1, packets[2]))[0] == 202  # what was refused is not remembered


async def test_both_at_once_send_it_once(two: Two, packets: list[bytes]) -> None:
    two.acks[0].at_once = False
    first = asyncio.ensure_future(two.push(0, packets[0], "k"))
    while not two.acks[0].sent:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    second = asyncio.ensure_future(two.push(1, packets[0], "k"))
    await asyncio.sleep(0.1)
    assert not second.done()
    two.acks[0].acknowledge(0)
    assert [status for status, _ in await asyncio.gather(first, second)] == [202, 202]
    assert second.result()[1][0][2]
    assert not two.acks[1].sent


async def test_what_failed_may_be_pushed_again_by_either(two: Two, packets: list[bytes]) -> None:
    assert (await two.push(0, packets[0][:500], "k"))[0] == 422
    assert (await two.push(1, packets[0], "k"))[0] == 202


def test_what_a_process_left_in_hand_when_it_ended_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pushes.sqlite"
    program = (
        "import sys, pathlib; from service.ingest.shared_pushes import SharedPushes as S; S(pathlib.Path(sys.argv[1])).claim(b'n', b'd')"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    now = [0.0]
    shared = SharedPushes(path)
    assert shared.claim(b"n", b"d") is None
    shared.settle(b"n", b"[]")
    again = SharedPushes(path).claim(b"n", b"d")
    assert again is not None
    assert again.answer == b"[]"
    other = SharedPushes(tmp_path / "other.sqlite", clock=lambda: now[0])
    now[0] = 1e6
    assert other.claim(b"n", b"d") is None
    assert other.claim(b"n", b"d") is not None  # in hand by a process that runs
    now[0] += IN_HAND + 1
    assert other.claim(b"n", b"d") is None
    other.settle(b"n", b"x")
    now[0] += KEPT + 1
    assert other.claim(b"n", b"e") is None


def test_the_file_is_bounded_and_a_damaged_one_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pushes.sqlite"
    shared = SharedPushes(path, most=1_000)
    for i in range(10_000):
        shared.claim(b"%d" % i, b"d")
        shared.settle(b"%d" % i, b"[]")
    assert shared._file is not None
    assert shared._file.execute("SELECT count(*) FROM pushes").fetchone()[0] <= 1_256
    assert shared.claim(b"9999", b"d") is not None
    shared.close()
    path.write_bytes(b"not a database at all" * 100)
    assert SharedPushes(path).claim(b"n", b"d") is None
    found = SharedPushes(path).claim(b"n", b"d")
    assert found is not None
    assert found.answer is None
    folder = tmp_path / "file" / "pushes.sqlite"
    folder.parent.write_text("not a folder")
    assert SharedPushes(folder).claim(b"n", b"d") is None
    assert "not shared" in capsys.readouterr().out
