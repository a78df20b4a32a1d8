"""The loop that runs a `Program` over a record.

in → the record's bytes, a `Program`
out → the wanted scalars, where the wanted bytes lie, the wanted columns of the wanted arrays, in a `Scratch`

Everything else is stepped over without making an object. Every read is checked against the record's end, so a broken record gives a
`PacketError` and never a read outside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from operators.kernels.compiled import compiled
from schemas.avro.alike import WORTH, double_at, float_at, read_alike, text_at
from schemas.avro.program import (
    ARRAY,
    ARRAY_END,
    BOOLEAN,
    COLUMN,
    DOUBLE,
    ENUM,
    FIXED,
    FLOAT,
    JUMP,
    LONG,
    SCALAR,
    SKIP,
    SKIP_BYTES,
    SKIP_LONG,
    TEXT,
    UNION,
    WRONG,
    Program,
)
from schemas.avro.wire import PacketError

MAX_ROWS = 131_072
"""Items of one array that are kept; more is not a history of an alert. A TESS sector of 27.4 d at 20 s has 118,368; a thread keeps the room
of the longest it met, 8 bytes a column and item."""

# what the loop returns instead of a position
TRUNCATED, BAD_NUMBER, BAD_BRANCH, BAD_SIZE, WRONG_TYPE, MORE_ROWS = -1, -2, -3, -4, -5, -6


class Scratch:
    """Where a record's values land; one a thread, used again and again."""

    def __init__(self, n_scalars: int, n_columns: int, *, n_arrays: int, capacity: int = 256) -> None:
        self.number = np.full(n_scalars, np.nan)
        self.whole = np.zeros((n_scalars, 2), np.int64)
        self.table = np.empty((n_columns, capacity))
        self.count = np.zeros(n_arrays, np.int64)
        self.state = np.zeros(2, np.int64)


@compiled
def run_program(buf, at, end, rows, aux, columns, number, whole, table, count, state):  # type: ignore[no-untyped-def] # pragma: no cover
    """Run a program over ``buf[at:end]``; the position after the record, or a negative reason with the row in ``state[0]``.

    number (n_scalars,) float64, NaN where absent; whole (n_scalars, 2) int64: a long, or where bytes lie and how many, [0, -1] where
    absent; table (n_columns, capacity) float64, NaN where absent; count (n_arrays,) items.
    """
    number[:] = np.nan
    whole[:, 0] = 0
    whole[:, 1] = -1
    count[:] = 0
    n = rows.shape[0]
    capacity = table.shape[1]
    left = np.zeros(32, np.int64)  # MAX_DEPTH bounds the nesting
    depth = -1
    row = np.int64(0)
    pc = 0
    while pc < n:
        op = rows[pc, 0]
        state[0] = pc
        null = rows[pc, 4]
        if null >= 0:
            if at >= end:
                return TRUNCATED
            branch = buf[at]
            at += 1
            if branch != 0 and branch != 2:
                return BAD_BRANCH
            if branch >> 1 == null:
                pc += 1
                continue
        if op == SKIP:
            at += rows[pc, 1]
            if at > end:
                return TRUNCATED
            pc += 1
            continue
        if op == FLOAT:
            if at + 4 > end:
                return TRUNCATED
            value = float_at(buf, at)
            at += 4
        elif op == DOUBLE:
            if at + 8 > end:
                return TRUNCATED
            value = double_at(buf, at)
            at += 8
        elif op == BOOLEAN:
            if at >= end:
                return TRUNCATED
            value = np.float64(buf[at] != 0)
            at += 1
        elif op == JUMP:
            pc = rows[pc, 1]
            continue
        elif op == WRONG:
            return WRONG_TYPE
        elif op == FIXED:
            size = np.int64(rows[pc, 1])
            if at + size > end:
                return TRUNCATED
            value = np.float64(0.0)
            if rows[pc, 2] == SCALAR:
                whole[rows[pc, 3], 0] = at
                whole[rows[pc, 3], 1] = size
            at += size
        else:
            # every other operation begins with a long; the end of an array reads the next block's count only after its last item
            if op == ARRAY_END:
                left[depth] -= 1
                if left[depth] > 0:
                    begin = rows[pc, 1]
                    wanted = rows[begin, 3]
                    if wanted >= 0:
                        row = np.int64(row + 1)  # the block's count was checked against the capacity
                        for c in range(columns[wanted, 0], columns[wanted, 1]):
                            table[c, row] = np.nan
                    pc = begin + 1
                    continue
            coded = np.uint64(0)
            shift = np.uint64(0)
            while True:
                if at >= end:
                    return TRUNCATED
                byte = np.uint64(buf[at])
                at += 1
                coded |= (byte & np.uint64(0x7F)) << shift
                if byte < np.uint64(128):
                    break
                shift += np.uint64(7)
                if shift > np.uint64(63):
                    return BAD_NUMBER
            long = np.int64(coded >> np.uint64(1)) ^ -np.int64(coded & np.uint64(1))
            if op == SKIP_LONG:
                pc += 1
                continue
            if op == SKIP_BYTES:
                if long < 0:
                    return BAD_SIZE
                if long > end - at:
                    return TRUNCATED
                at += long
                pc += 1
                continue
            if op == LONG:
                value = np.float64(long)
                if rows[pc, 2] == SCALAR:
                    whole[rows[pc, 3], 0] = long
                    whole[rows[pc, 3], 1] = 0
            elif op == TEXT:
                if long < 0:
                    return BAD_SIZE
                if long > end - at:
                    return TRUNCATED
                value = text_at(buf, at, long)
                if rows[pc, 2] == SCALAR:
                    whole[rows[pc, 3], 0] = at
                    whole[rows[pc, 3], 1] = long
                at += long
            elif op == ENUM:
                symbols = rows[pc, 1]
                if long < 0 or long >= aux[symbols]:
                    return BAD_BRANCH
                value = np.float64(aux[symbols + 1 + long])
            elif op == UNION:
                if long < 0 or long >= rows[pc, 1]:
                    return BAD_BRANCH
                pc = aux[rows[pc, 3] + long]
                continue
            else:  # ARRAY, ARRAY_END: the count of the next block
                begin = pc if op == ARRAY else int(rows[pc, 1])
                after = rows[begin, 1]
                if op == ARRAY:
                    depth += 1
                if long < 0:  # the block also says its size, which only one who skips it needs
                    if long == np.int64(-9223372036854775808):
                        return BAD_SIZE
                    long = -long
                    while True:
                        if at >= end:
                            return TRUNCATED
                        at += 1
                        if buf[at - 1] < 128:
                            break
                wanted = rows[begin, 3]
                if long == 0:
                    if wanted >= 0:
                        count[wanted] = row + 1 if op == ARRAY_END else 0
                        row = np.int64(0)
                    depth -= 1
                    pc = after
                    continue
                if long > end - at:  # every item takes a byte at least
                    return TRUNCATED
                left[depth] = long
                if wanted >= 0:
                    row = np.int64(0) if op == ARRAY else np.int64(row + 1)
                    if row + long > capacity:
                        state[1] = row + long
                        return MORE_ROWS
                    if long >= WORTH:
                        # all but the last, after which `ARRAY_END` reads on
                        done, at = read_alike(
                            buf, at, end, rows, aux, begin + 1, after - 1, table, columns[wanted, 0], columns[wanted, 1], row, long - 1
                        )
                        left[depth] -= done
                        row = np.int64(row + done)
                    for c in range(columns[wanted, 0], columns[wanted, 1]):
                        table[c, row] = np.nan
                pc = begin + 1
                continue
        kind = rows[pc, 2]
        if kind == SCALAR:
            number[rows[pc, 3]] = value
        elif kind == COLUMN:
            table[rows[pc, 3], row] = value
        pc += 1
    return at


_REASONS: dict[int, tuple[str, str]] = {
    TRUNCATED: ("truncated", "the record ends inside {path}"),
    BAD_NUMBER: ("bad_avro", "the number in {path} has more than ten bytes"),
    BAD_BRANCH: ("bad_avro", "{path} names a branch or symbol that its type does not have"),
    BAD_SIZE: ("bad_avro", "{path} has a negative length"),
    WRONG_TYPE: ("wrong_type", "{path} is of a type that no packet of this survey gives it"),
}


def fault_of(program: Program, got: int, *, scratch: Scratch) -> PacketError:
    """The packet's fault for a negative answer of `run_program`, with the field's path."""
    error_class, reason = _REASONS[got]
    return PacketError(error_class, reason.format(path=program.paths[scratch.state[0]] or "the record"))


def run(program: Program, data: npt.NDArray[np.uint8], *, start: int, end: int, scratch: Scratch) -> None:
    """Read one record into `scratch`.

    Raises
    ------
    PacketError
        truncated, bad_avro, wrong_type or too_large, with the field's path
    """
    while True:
        got = run_program(
            data, start, end, program.rows, program.aux, program.columns,
            scratch.number, scratch.whole, scratch.table, scratch.count, scratch.state,
        )  # fmt: skip
        if got == end:
            return
        if got >= 0:
            raise PacketError("bad_avro", f"{end - got:,} bytes are left after the record")
        if got != MORE_ROWS:
            raise fault_of(program, got, scratch=scratch)
        path = program.paths[scratch.state[0]]
        needed = int(scratch.state[1])
        if needed > MAX_ROWS:
            raise PacketError("too_large", f"{path} has {needed:,} items; {MAX_ROWS:,} are read at most")
        scratch.table = np.empty((len(scratch.table), int(min(2 * needed, MAX_ROWS))))
