"""`operators.filters.matches` as one loop: every program over blocks of rows, a stack of rows' values."""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled

BLOCK = 64
"""Rows that an operation works through at once: its stack stays in the first cache."""
DEEPEST = 64
"""Values on the stack."""
# fmt: off
(COLUMN, NUMBER, ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, ABSOLUTE, ROOT, LOG10, LN, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, EQUAL,
 NOT_EQUAL, AND, OR, NOT, IS_NULL, IS_UNKNOWN, TRUTH) = range(23)
# fmt: on


@compiled
def fill_matches(operations, arguments, starts, columns, hits):  # type: ignore[no-untyped-def]
    """Programs over columns (k, n) → hits (programs, n); truth is 1, 0 or .5 (unknown), null is NaN."""
    n = columns.shape[1]
    stack = np.empty((DEEPEST, BLOCK))
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        for f in range(len(starts) - 1):
            s = 0
            for k in range(starts[f], starts[f + 1]):
                op = operations[k]
                if op == COLUMN:
                    c = int(arguments[k])
                    for r in range(m):
                        stack[s, r] = columns[c, begin + r]
                    s += 1
                elif op == NUMBER:
                    for r in range(m):
                        stack[s, r] = arguments[k]
                    s += 1
                elif op in (NEGATE, ABSOLUTE, ROOT, LOG10, LN, NOT, IS_NULL, IS_UNKNOWN, TRUTH):
                    a = stack[s - 1]
                    if op == NEGATE:
                        for r in range(m):
                            a[r] = -a[r]
                    elif op == ABSOLUTE:
                        for r in range(m):
                            a[r] = abs(a[r])
                    elif op == ROOT:
                        for r in range(m):
                            a[r] = np.sqrt(a[r]) if a[r] >= 0 else np.nan
                    elif op == LOG10:
                        for r in range(m):
                            a[r] = np.log10(a[r]) if a[r] > 0 else np.nan
                    elif op == LN:
                        for r in range(m):
                            a[r] = np.log(a[r]) if a[r] > 0 else np.nan
                    elif op == NOT:
                        for r in range(m):
                            a[r] = 1.0 - a[r]
                    elif op == IS_NULL:
                        for r in range(m):
                            a[r] = 1.0 if a[r] != a[r] else 0.0
                    elif op == IS_UNKNOWN:
                        for r in range(m):
                            a[r] = 1.0 if a[r] == 0.5 else 0.0
                    else:
                        for r in range(m):
                            a[r] = 0.5 if a[r] != a[r] else 1.0 if a[r] != 0 else 0.0
                else:
                    s -= 1
                    a, b = stack[s - 1], stack[s]
                    if op == ADD:
                        for r in range(m):
                            a[r] = a[r] + b[r]
                    elif op == SUBTRACT:
                        for r in range(m):
                            a[r] = a[r] - b[r]
                    elif op == MULTIPLY:
                        for r in range(m):
                            a[r] = a[r] * b[r]
                    elif op == DIVIDE:
                        for r in range(m):
                            a[r] = a[r] / b[r] if b[r] != 0 else np.nan
                    elif op == LESS:
                        for r in range(m):
                            a[r] = 0.5 if (a[r] != a[r]) | (b[r] != b[r]) else 1.0 if a[r] < b[r] else 0.0
                    elif op == LESS_EQUAL:
                        for r in range(m):
                            a[r] = 0.5 if (a[r] != a[r]) | (b[r] != b[r]) else 1.0 if a[r] <= b[r] else 0.0
                    elif op == GREATER:
                        for r in range(m):
                            a[r] = 0.5 if (a[r] != a[r]) | (b[r] != b[r]) else 1.0 if a[r] > b[r] else 0.0
                    elif op == GREATER_EQUAL:
                        for r in range(m):
                            a[r] = 0.5 if (a[r] != a[r]) | (b[r] != b[r]) else 1.0 if a[r] >= b[r] else 0.0
                    elif op == EQUAL:
                        for r in range(m):
                            a[r] = 0.5 if (a[r] != a[r]) | (b[r] != b[r]) else 1.0 if a[r] == b[r] else 0.0
                    elif op == NOT_EQUAL:
                        for r in range(m):
                            a[r] = 0.5 if (a[r] != a[r]) | (b[r] != b[r]) else 1.0 if a[r] != b[r] else 0.0
                    elif op == AND:
                        for r in range(m):
                            a[r] = min(a[r], b[r])
                    else:
                        for r in range(m):
                            a[r] = max(a[r], b[r])
            for r in range(m):
                hits[f, begin + r] = stack[0, r] > 0.5
