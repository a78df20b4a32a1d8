"""Orders and order statistics of short vectors, as the loops need them.

values (n,) → the indices that sort them; the k-th smallest, a median, a percentile

numba's own sorts, medians and `unique` are general: they take the compiler 15 s in each process that needs them, these 3 s, and give the
same numbers. Only `different` knows NaN: of the others callers leave it out first.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled


@compiled
def stable_order(values, m):  # type: ignore[no-untyped-def] # pragma: no cover
    """(m,) indices that sort the first m values, equal ones in the order they stand: a merge of the runs they come in, which are few."""
    order = np.empty(m, np.int64)
    begin = np.empty(m + 1, np.int64)
    runs = 0
    at = 0
    while at < m:
        begin[runs] = at
        end = at + 1
        if end < m and values[end] < values[at]:  # falls: strictly, so that equal values keep their order
            while end < m and values[end] < values[end - 1]:
                end += 1
            for j in range(at, end):
                order[j] = at + end - 1 - j
        else:
            while end < m and values[end] >= values[end - 1]:
                end += 1
            for j in range(at, end):
                order[j] = j
        runs += 1
        at = end
    begin[runs] = m
    other = np.empty(m if runs > 1 else 0, np.int64)
    while runs > 1:
        merged = 0
        for r in range(0, runs, 2):
            a, middle = begin[r], begin[r + 1]
            end = begin[min(r + 2, runs)]
            b = middle
            for j in range(begin[r], end):
                if a < middle and (b >= end or values[order[a]] <= values[order[b]]):
                    other[j] = order[a]
                    a += 1
                else:
                    other[j] = order[b]
                    b += 1
            begin[merged] = begin[r]
            merged += 1
        begin[merged] = m
        runs = merged
        order, other = other, order
    return order


@compiled
def different(values, m):  # type: ignore[no-untyped-def] # pragma: no cover
    """The different ones among the first m values, ascending and without NaN, and how many; made for few of them."""
    out = np.empty(m)
    n = 0
    for j in range(m):
        value = values[j]
        at = n
        while at > 0 and out[at - 1] > value:
            at -= 1
        if value != value or (at > 0 and out[at - 1] == value):
            continue
        for k in range(n, at, -1):
            out[k] = out[k - 1]
        out[at] = value
        n += 1
    return out, n


@compiled
def kth_smallest(a, left, right, k):  # type: ignore[no-untyped-def] # pragma: no cover
    """The k-th smallest of a[left … right]; smaller ones end before it, larger ones after (Hoare's quickselect)."""
    while left < right:
        pivot = a[(left + right) >> 1]
        i, j = left, right
        while i <= j:
            while a[i] < pivot:
                i += 1
            while a[j] > pivot:
                j -= 1
            if i <= j:
                a[i], a[j] = a[j], a[i]
                i += 1
                j -= 1
        if k <= j:
            right = j
        elif k >= i:
            left = i
        else:
            break
    return a[k]


@compiled
def next_smallest(a, k):  # type: ignore[no-untyped-def] # pragma: no cover
    """The smallest behind a[k], once `kth_smallest` has put that in its place."""
    least = a[k + 1]
    for j in range(k + 2, len(a)):
        least = min(least, a[j])
    return least


@compiled
def median(values):  # type: ignore[no-untyped-def] # pragma: no cover
    """Of any number of values, NaN of none."""
    n = len(values)
    if n == 0:
        return np.nan
    work = np.empty(n)
    for j in range(n):
        work[j] = values[j]
    zero = np.int64(0)
    k = (n - 1) >> 1
    middle = kth_smallest(work, zero, n - 1, k)
    return middle if n & 1 else (middle + next_smallest(work, k)) / 2


@compiled
def percentile(values, begin, q):  # type: ignore[no-untyped-def] # pragma: no cover
    """Between two of at least two values by a straight line, as `numpy.percentile` does, and the index to begin a higher one at.

    values are moved: those before `begin` must not be larger than the rest, as one call leaves them for the next.
    """
    last = len(values) - 1
    at = q / 100.0 * last
    k = min(int(at), last - 1)
    part = at - k
    low = kth_smallest(values, begin, last, k)
    high = next_smallest(values, k)
    return (low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)), k
