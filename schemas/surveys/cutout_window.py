"""Three gzipped cut-outs → the middle of their stamps, in one call and no further than the network looks.

in → a record, where its three gzip members lie
out → the pixels of the window in the stamps, NaN around it; or "not such images": then `schemas.surveys.cutouts.Cutouts.read` reads them

A stamp has 63 x 63 pixels, of which the network sees the 32 x 32 in the middle where they are about as large as its own. A deflate
stream has no way in but its beginning, but it may be left early: behind the last row of the window lies a quarter of the work. So the
checksum at its end is not looked at: a bit that turned in such an image is scored where the stream still inflates. Kafka's own checksum
guards the way to us; files are read by the same rule, for what a packet is worth must follow from the packet alone.

libdeflate fills the room that it is given and then says that there is more. What it filled up to there is right, which it does not promise:
`available` looks once whether it is so, and a mark behind the last wanted byte has to be gone each time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import deflate
import llvmlite.binding
import numpy as np
import numpy.typing as npt
from numba import types

from operators.kernels.compiled import compiled
from operators.types import F32, RAW_STAMP, STAMP

BLOCK = 2880
"""Of a FITS header [bytes]."""
SIDE, SEEN = RAW_STAMP, STAMP
FIRST = SIDE // 2 - SEEN // 2
WANT = BLOCK + 4 * SIDE * (FIRST + SEEN)
"""Header and rows up to the window's last [bytes]."""
MARK = WANT + 64
"""Where a word is put that must be gone afterwards: what is written is written in order, and runs ahead by less than this."""
ROOM = MARK + 8 + 258
"""A match that does not fit is not begun, and the longest has 258 bytes."""
HEADERS = 8
"""Different headers that are known at once."""
JUDGED = 256
"""Headers of which it is remembered what they say."""
_MARK = np.uint64(0xC0FFEE0DDBA11AD5)
_DONE, _MORE = 0, 3
"""libdeflate's results: the whole stream; there was more than room."""
_OTHER, _UNKNOWN = -1, -2
"""Not such images; a header that is not known yet lies in the room."""

_allocate: Any = types.ExternalFunction("libdeflate_alloc_decompressor", types.intp())
_inflate: Any = types.ExternalFunction(
    "libdeflate_deflate_decompress", types.int32(types.intp, types.intp, types.uintp, types.intp, types.uintp, types.intp)
)


@compiled
def decompressor():  # type: ignore[no-untyped-def] # pragma: no cover
    """One a thread; it lives as long as the process."""
    return _allocate()


@compiled
def inflate_some(tool, source, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Answer of libdeflate for a raw deflate stream that may be longer than the room."""
    return _inflate(tool, source.ctypes.data, len(source), out.ctypes.data, len(out), 0)


@compiled
def read_windows(tool, data, place, known, count, room, got, which, stamps):  # type: ignore[no-untyped-def] # pragma: no cover
    """Put the middle of three images into `stamps`; 0, `_OTHER` or `_UNKNOWN`.

    data (n,) uint8, the record; place (3, 2) int64, where each gzip member lies and how many bytes it has; known (HEADERS, BLOCK)
    uint8, the first `count` are headers of images of SIDE x SIDE big-endian float32 without scale and zero; room (ROOM,) uint8,
    got (1,) uint64 to work in; which (3,) int64, the header that each image has; stamps (3, SIDE, SIDE) float32.
    """
    words = room[BLOCK:WANT].view(np.uint32)
    header = room[:BLOCK].view(np.uint64)
    known_words = known.view(np.uint64)
    out = stamps.view(np.uint32)
    mark = room[MARK : MARK + 8].view(np.uint64)
    for k in range(3):
        start, size = place[k, 0], place[k, 1]
        # Ten bytes of gzip's header and no more: no name, no comment.
        if size < 18 or data[start] != 0x1F or data[start + 1] != 0x8B or data[start + 2] != 8 or data[start + 3] != 0:
            return _OTHER
        source = data[start + 10 : start + size - 8]
        mark[0] = _MARK
        result = _inflate(tool, source.ctypes.data, len(source), room.ctypes.data, len(room), got.ctypes.data)
        if result not in (_DONE, _MORE) or mark[0] == _MARK:
            return _OTHER
        which[k] = -1
        for j in range(count):
            same = True
            for i in range(BLOCK // 8):
                if header[i] != known_words[j, i]:
                    same = False
                    break
            if same:
                which[k] = j
                break
        if which[k] < 0:
            return _UNKNOWN
        for y in range(FIRST, FIRST + SEEN):
            for x in range(FIRST, FIRST + SEEN):
                v = words[y * SIDE + x]
                low = ((v >> np.uint32(8)) & np.uint32(0xFF00)) | (v >> np.uint32(24))
                out[k, y, x] = low | ((v & np.uint32(0xFF00)) << np.uint32(8)) | (v << np.uint32(24))
    for k in range(3):
        stamps[k, :FIRST] = np.nan
        stamps[k, FIRST + SEEN :] = np.nan
        for y in range(FIRST, FIRST + SEEN):
            stamps[k, y, :FIRST] = np.nan
            stamps[k, y, FIRST + SEEN :] = np.nan
    return 0


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether libdeflate can be called here, and leaves what it wrote when its room is full: asked once."""
    try:
        llvmlite.binding.load_library_permanently(deflate._deflate.__file__)  # by name and not by address, so that the code can be kept
    except (AttributeError, RuntimeError):
        return False
    if llvmlite.binding.address_of_symbol("libdeflate_deflate_decompress") is None:
        return False
    tool = decompressor()
    random = np.random.default_rng(0)
    for level in (1, 6, 9):
        plain = random.normal(size=8192).astype(">f4").tobytes()
        stream = zlib.compressobj(level, zlib.DEFLATED, -15)
        member = np.frombuffer(stream.compress(plain) + stream.flush(), np.uint8)
        for room in (300, 5000, ROOM, len(plain) - 1):
            out = np.zeros(room, np.uint8)
            if inflate_some(tool, member, out) != _MORE or out[:-258].tobytes() != plain[: room - 258]:
                return False
    return True


class Windows:
    """Reads windows, and knows the headers that it met; one a thread.

    Parameters
    ----------
    judge : callable
        A FITS header's block → its pixel scale ([arcsec/pixel], NaN: it states none) if it is of an image whose window is all that
        matters; None of any other.
    """

    def __init__(self, judge: Callable[[bytes], float | None]) -> None:
        self._judge = judge
        self._tool = decompressor() if available() else 0
        self._known = np.zeros((HEADERS, BLOCK), np.uint8)
        self._scales = [math.nan] * HEADERS
        self._count = self._next = 0
        self._judged: dict[bytes, float | None] = {}
        self._room, self._got, self._which = np.zeros(ROOM, np.uint8), np.zeros(1, np.uint64), np.zeros(3, np.int64)

    def read(self, data: bytes | bytearray, place: npt.NDArray[np.int64], *, stamps: F32) -> float | None:
        """Put the middle of three images into their stamps.

        Parameters
        ----------
        data : a record
        place : (3, 2), where each cut-out lies in it and how many bytes it has
        stamps : (3, SIDE, SIDE), overwritten: NaN outside of the window

        Returns
        -------
        the pixel scale of the first header that states one, else NaN; None: these are not three such images (stamps hold anything)
        """
        if not self._tool:
            return None
        record = np.frombuffer(data, np.uint8)
        for _ in range(4):  # each image's header may be new
            found = read_windows(self._tool, record, place, self._known, self._count, self._room, self._got, self._which, stamps)
            if found == 0:
                scales: list[Any] = [self._scales[j] for j in self._which]
                return next((scale for scale in scales if scale == scale), math.nan)
            if found == _OTHER or not self._learn():
                return None
        return None

    def _learn(self) -> bool:
        """Take the header that lies in the room among the known ones, where it is of the right kind."""
        header = self._room[:BLOCK].tobytes()
        if header not in self._judged:
            if len(self._judged) >= JUDGED:
                self._judged.clear()
            self._judged[header] = self._judge(header)
        scale = self._judged[header]
        if scale is None:
            return False
        self._known[self._next] = np.frombuffer(header, np.uint8)
        self._scales[self._next] = scale
        self._count = min(self._count + 1, HEADERS)
        self._next = (self._next + 1) % HEADERS
        return True


def warm() -> None:
    """Compile, or load from the cache."""
    if available():
        nothing = np.zeros(4, np.uint8)
        place = np.zeros((3, 2), np.int64)
        windows = Windows(lambda header: None)
        windows.read(nothing.tobytes(), place, stamps=np.zeros((3, SIDE, SIDE), np.float32))
