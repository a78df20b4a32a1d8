"""Frames cut out of pieces as a socket gives them: the same bytes as asyncio's reader, and the same end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from streams.kafka.frame_reader import FrameReader


def reader() -> Any:
    made = asyncio.StreamReader(limit=1000)
    FrameReader.adopt(made)
    assert type(made) is FrameReader
    return made


@pytest.mark.parametrize("seed", range(20))
async def test_frames_of_any_pieces(seed: int) -> None:
    chance = random.Random(seed)
    frames = [chance.randbytes(chance.choice([0, 1, 4, 70, 5000])) for _ in range(30)]
    data, made = b"".join(frames), reader()

    async def feed() -> None:
        at = 0
        while at < len(data):
            n = chance.choice([1, 3, 100, 4000])
            made.feed_data(data[at : at + n])
            at += n
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        made.feed_eof()

    feeding = asyncio.create_task(feed())
    assert [await made.readexactly(len(frame)) for frame in frames] == frames
    await feeding
    assert made.at_eof()


async def test_the_end_within_a_frame() -> None:
    made = reader()
    made.feed_data(b"abc")
    made.feed_eof()
    assert not made.at_eof()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await made.readexactly(4)
    assert caught.value.partial == b"abc"
    assert made.at_eof()


async def test_an_error_of_the_connection() -> None:
    made = reader()
    waiting = asyncio.create_task(made.readexactly(4))
    await asyncio.sleep(0)
    made.set_exception(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        await waiting


async def test_a_slow_reader_holds_the_socket_back_but_never_within_the_frame_it_waits_for() -> None:
    class Transport:
        paused = False

        def pause_reading(self) -> None:
            self.paused = True

        def resume_reading(self) -> None:
            self.paused = False

    made, transport = reader(), Transport()
    made._transport = transport
    waiting = asyncio.create_task(made.readexactly(50_000))
    await asyncio.sleep(0)
    for _ in range(50):
        made.feed_data(bytes(1000))
        assert not transport.paused
    assert len(await waiting) == 50_000
    for _ in range(10):
        made.feed_data(bytes(1000))
    assert transport.paused
    await made.readexactly(9500)
    assert not transport.paused


async def test_one_that_has_been_read_from_is_left_alone() -> None:
    made = asyncio.StreamReader()
    made.feed_data(b"x")
    FrameReader.adopt(made)
    assert type(made) is asyncio.StreamReader
