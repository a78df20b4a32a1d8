"""Items of an array that are laid out like one before them, read without walking over their fields.

in → the bytes of a block's items, the rows of the program that reads one item
out → the wanted columns, how many items were read, and where the next one begins

An item of a history has some fifty fields of which six are wanted. Which of them are null, how many bytes a number takes, how long a text
is: that makes its layout, and a history has few. One is learned from an item that is walked over: which bytes decide about it (null
branches whole, of a number's bytes the top bits, lengths whole) and where the wanted values lie. An item whose deciding bytes are the same
would be walked over in the same steps, so its values lie in the same places. What does not fit, or breaks a rule, is left to `machine`.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from schemas.avro.program import BOOLEAN, COLUMN, DOUBLE, ENUM, FIXED, FLOAT, LONG, SKIP, SKIP_BYTES, SKIP_LONG, TEXT

LAYOUTS = 8
"""Kept of one block; more are learned in place of the oldest."""
MOST_BYTES = 2048
"""Of an item; a longer one is walked over."""
WORTH = 12
"""Items of a block from which learning pays."""

_OFFSET, _KIND, _COLUMN, _AUX = range(4)
"""Columns of what is read: where, as what, to which column, which symbols."""
_FULL = np.uint8(0xFF)
_CONTINUED = np.uint8(0x80)


@compiled
def float_at(buf, at):  # type: ignore[no-untyped-def] # pragma: no cover
    """Four bytes as a little-endian float32."""
    place = np.uint64(at)  # never negative
    bits = (
        np.uint32(buf[place])
        | (np.uint32(buf[place + np.uint64(1)]) << np.uint32(8))
        | (np.uint32(buf[place + np.uint64(2)]) << np.uint32(16))
        | (np.uint32(buf[place + np.uint64(3)]) << np.uint32(24))
    )
    return np.float64(np.uint32(bits).view(np.float32))


@compiled
def word_at(buf, at):  # type: ignore[no-untyped-def] # pragma: no cover
    """Eight bytes as a little-endian integer: one load, as the compiler sees it."""
    place = np.uint64(at)  # never negative
    return (
        np.uint64(buf[place])
        | (np.uint64(buf[place + np.uint64(1)]) << np.uint64(8))
        | (np.uint64(buf[place + np.uint64(2)]) << np.uint64(16))
        | (np.uint64(buf[place + np.uint64(3)]) << np.uint64(24))
        | (np.uint64(buf[place + np.uint64(4)]) << np.uint64(32))
        | (np.uint64(buf[place + np.uint64(5)]) << np.uint64(40))
        | (np.uint64(buf[place + np.uint64(6)]) << np.uint64(48))
        | (np.uint64(buf[place + np.uint64(7)]) << np.uint64(56))
    )


@compiled
def double_at(buf, at):  # type: ignore[no-untyped-def] # pragma: no cover
    """Eight bytes as a little-endian float64."""
    return np.uint64(word_at(buf, at)).view(np.float64)


@compiled
def text_at(buf, at, size):  # type: ignore[no-untyped-def] # pragma: no cover
    """The first four of a text's bytes as a number (`program.code`)."""
    value = 0.0
    scale = 1.0
    for i in range(min(size, 4)):
        value += scale * buf[at + i]
        scale *= 256.0
    return value


@compiled
def long_at(buf, at, end):  # type: ignore[no-untyped-def] # pragma: no cover
    """A number of variable length and its bytes; 0 bytes: it is cut or has more than ten."""
    coded = np.uint64(0)
    for k in range(10):
        if at + k >= end:
            return np.int64(0), 0
        byte = np.uint64(buf[at + k])
        coded |= (byte & np.uint64(0x7F)) << np.uint64(7 * k)
        if byte < np.uint64(128):
            return np.int64(coded >> np.uint64(1)) ^ -np.int64(coded & np.uint64(1)), k + 1
    return np.int64(0), 0


@compiled
def learn(buf, at, end, rows, aux, first, last, mask, fixed, reads):  # type: ignore[no-untyped-def] # pragma: no cover
    """The layout of the item at `at`, read by rows first … last - 1 of a program: its bytes and how many values are read; 0: none.

    mask, fixed (MOST_BYTES,) uint8, zeros before: byte & mask == fixed wherever an item has this layout.
    reads (…, 4): see `_OFFSET` and its like.
    """
    start = at
    wanted = 0
    for pc in range(first, last):
        op = rows[pc, 0]
        null = rows[pc, 4]
        if at - start + 10 > MOST_BYTES:
            return 0, 0
        if null >= 0:
            if at >= end or (buf[at] != 0 and buf[at] != 2):
                return 0, 0
            mask[at - start], fixed[at - start] = _FULL, buf[at]
            at += 1
            if buf[at - 1] >> 1 == null:
                continue
        begin = at
        size = np.int64(0)
        if op in (SKIP, FIXED):
            at += rows[pc, 1]
        elif op == FLOAT:
            at += 4
        elif op == DOUBLE:
            at += 8
        elif op == BOOLEAN:
            at += 1
        elif op in (LONG, SKIP_LONG, ENUM, TEXT, SKIP_BYTES):
            size, taken = long_at(buf, at, end)
            if taken == 0:
                return 0, 0
            whole = op in (TEXT, SKIP_BYTES)
            for k in range(taken):
                mask[at - start + k] = _FULL if whole else _CONTINUED
                fixed[at - start + k] = buf[at + k] if whole else buf[at + k] & _CONTINUED
            at += taken
            if whole:
                if size < 0 or size > end - at:
                    return 0, 0
                begin = at
                at += size
        else:
            return 0, 0
        if at > end or at - start > MOST_BYTES:
            return 0, 0
        if rows[pc, 2] == COLUMN:
            reads[wanted, _OFFSET] = begin - start
            reads[wanted, _KIND] = op
            reads[wanted, _COLUMN] = rows[pc, 3]
            reads[wanted, _AUX] = size if op == TEXT else rows[pc, 1]
            wanted += 1
    return at - start, wanted


@compiled
def read_alike(buf, at, end, rows, aux, first, last, table, low, high, row, most):  # type: ignore[no-untyped-def] # pragma: no cover
    """Read up to `most` items into the columns low … high - 1 of `table` from `row` on; how many were read, and where the next begins.

    Stops before an item that cannot be read in this way.
    """
    mask = np.zeros((LAYOUTS, MOST_BYTES), np.uint8)
    fixed = np.zeros((LAYOUTS, MOST_BYTES), np.uint8)
    masks, fixeds = mask.view(np.uint64), fixed.view(np.uint64)
    reads = np.zeros((LAYOUTS, max(high - low, 1), 4), np.int64)
    size = np.zeros(LAYOUTS, np.int64)
    wanted = np.zeros(LAYOUTS, np.int64)
    known = 0
    oldest = 0
    latest = 0
    done = 0
    while done < most:
        found = -1
        for k in range(known):
            s = (latest + k) % known
            words = (size[s] + 7) // 8
            if at + 8 * words <= end and matches(buf, at, masks, fixeds, s, words):
                found = s
                break
        if found < 0:
            s = known
            if known < LAYOUTS:
                known += 1
            else:
                s = oldest
                oldest = (oldest + 1) % LAYOUTS
            mask[s] = 0
            fixed[s] = 0
            size[s], wanted[s] = learn(buf, at, end, rows, aux, first, last, mask[s], fixed[s], reads[s])
            if size[s] == 0:
                break
            found = s
        latest = found
        j = row + done
        for c in range(low, high):
            table[c, j] = np.nan
        for r in range(wanted[found]):
            place = at + reads[found, r, _OFFSET]
            kind = reads[found, r, _KIND]
            value = 0.0
            if kind == FLOAT:
                value = float_at(buf, place)
            elif kind == DOUBLE:
                value = double_at(buf, place)
            elif kind == TEXT:
                value = text_at(buf, place, reads[found, r, _AUX])
            elif kind == BOOLEAN:
                value = 1.0 if buf[place] != 0 else 0.0
            elif kind in (LONG, ENUM):
                number, _ = long_at(buf, place, end)
                if kind == ENUM:
                    symbols = reads[found, r, _AUX]
                    if number < 0 or number >= aux[symbols]:
                        return done, at
                    number = np.int64(aux[symbols + 1 + number])
                value = np.float64(number)
            table[reads[found, r, _COLUMN], j] = value
        at += size[found]
        done += 1
    return done, at


@compiled
def matches(buf, at, masks, fixeds, s, words):  # type: ignore[no-untyped-def] # pragma: no cover
    """Whether the deciding bytes of an item are those of layout s, eight at a time."""
    wrong = np.uint64(0)
    for k in range(words):
        wrong |= (word_at(buf, at + 8 * k) & masks[s, k]) ^ fixeds[s, k]
    return wrong == 0
