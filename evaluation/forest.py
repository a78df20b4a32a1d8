"""Random forests, compiled.

For a handful of examples, where a hundred times what scikit-learn spends is overhead; and for 10⁵ simulated curves, where features in 255
quantile bins make a tree a matter of histograms.

The algorithm of `sklearn.ensemble.RandomForestClassifier` (Breiman 2001): bootstrap, Gini, √d features a node among those that vary, trees
grown to the end, mean of the leaves' class shares, class weights balanced (a test holds the two together). Queries are sorted into the
leaves while a tree grows, so no tree is kept.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from operators.kernels.compiled import compiled

F = npt.NDArray[np.float64]
BINS = 255
TREES_A_JOB = 10


def votes(x: F, y: npt.NDArray[np.int64], *, query: F, classes: int, trees: int, seed: int) -> F:
    """Grow a forest on (n, d) and return its probabilities for (q, d): (q, classes). Features are finite."""
    balanced = len(y) / (classes * np.bincount(y, minlength=classes).clip(min=1))
    return _votes(  # type: ignore[no-any-return]
        np.ascontiguousarray(x), y.astype(np.int64), np.ascontiguousarray(query), classes, trees, max(1, int(math.sqrt(x.shape[1]))),
        balanced, seed,
    )  # fmt: skip


def bins(x: F) -> F:
    """Edges of the quantile bins of each feature, (d, BINS - 1)."""
    return np.asarray(np.quantile(x, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T)


def binned(x: F, edges: F) -> npt.NDArray[np.uint8]:
    """(n, d) features → bins, feature by feature in memory: (d, n)."""
    return np.stack([np.searchsorted(edge, column, side="left") for edge, column in zip(edges, x.T, strict=True)]).astype(np.uint8)


def many_votes(
    x: npt.NDArray[np.uint8],
    y: npt.NDArray[np.int64],
    *,
    query: npt.NDArray[np.uint8],
    classes: int,
    trees: int,
    seed: int,
    depth: int = 10**6,
    leaf: int = 1,
    threads: int = 1,
) -> F:
    """A forest on many binned rows; the same whatever the number of threads.

    Parameters
    ----------
    x, query : (d, n), (d, q)
        From `binned`.
    depth, leaf : int
        Deepest level and fewest (weighted, as drawn) rows of a leaf.

    Returns
    -------
    (q, classes)
    """
    balanced = len(y) / (classes * np.bincount(y, minlength=classes).clip(min=1))
    tried = max(1, int(math.sqrt(len(x))))

    def grow(part: int) -> F:
        return _many(x, y, query, classes, min(TREES_A_JOB, trees - part), tried, balanced, seed + part, depth, leaf)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(grow, range(0, trees, TREES_A_JOB)), np.zeros((query.shape[1], classes)))
    return np.asarray(total / trees)


@compiled
def _many(x, y, query, classes, trees, tried, balanced, seed, most, least):  # type: ignore[no-untyped-def]
    """Sum of the trees' class shares for each query."""
    np.random.seed(seed)  # noqa: NPY002
    d, n = x.shape
    q = query.shape[1]
    out = np.zeros((q, classes))
    drawn = np.empty(n, np.int64)
    rows, order, moved = np.empty(n, np.int64), np.empty(q, np.int64), np.empty(max(n, q), np.int64)
    features = np.arange(d)
    histogram, counted = np.empty((BINS, classes)), np.empty(BINS)
    left, total = np.empty(classes), np.empty(classes)
    stack = np.empty((2 * n + 2, 5), np.int64)
    for _ in range(trees):
        drawn[:] = 0
        for _ in range(n):
            drawn[np.random.randint(0, n)] += 1  # noqa: NPY002
        m = 0
        for i in range(n):
            if drawn[i] > 0:
                rows[m] = i
                m += 1
        for i in range(q):
            order[i] = i
        stack[0] = np.array([0, m, 0, q, 0])
        height = 1
        while height > 0:
            height -= 1
            a, b, qa, qb, level = stack[height]
            if qa == qb:
                continue
            total[:] = 0
            number = 0
            for i in range(a, b):
                total[y[rows[i]]] += drawn[rows[i]] * balanced[y[rows[i]]]
                number += drawn[rows[i]]
            whole = total.sum()
            best, feature, cut = (total * total).sum() / whole * (1 + 1e-12), -1, 0
            if total.max() < whole and level < most and number >= 2 * least:
                seen = 0
                for k in range(d):
                    j = np.random.randint(k, d)  # noqa: NPY002
                    features[k], features[j] = features[j], features[k]
                    f = features[k]
                    histogram[:] = 0
                    counted[:] = 0
                    low, high = BINS, -1
                    for i in range(a, b):
                        r = rows[i]
                        v = x[f, r]
                        histogram[v, y[r]] += drawn[r] * balanced[y[r]]
                        counted[v] += drawn[r]
                        low, high = min(low, v), max(high, v)
                    if high <= low:
                        continue
                    left[:] = 0
                    mass, held = 0.0, 0.0
                    for v in range(low, high):
                        if counted[v] == 0:
                            continue
                        for c in range(classes):
                            left[c] += histogram[v, c]
                            mass += histogram[v, c]
                        held += counted[v]
                        if held < least or number - held < least:
                            continue
                        gain = 0.0
                        for c in range(classes):
                            gain += left[c] * left[c] / mass + (total[c] - left[c]) ** 2 / (whole - mass)
                        if gain > best:
                            best, feature, cut = gain, f, v
                    seen += 1
                    if seen >= tried:
                        break
            if feature < 0:
                for i in range(qa, qb):
                    for c in range(classes):
                        out[order[i], c] += total[c] / whole
                continue
            middle = _part(rows, a, b, x[feature], cut, moved)
            query_middle = _part(order, qa, qb, query[feature], cut, moved)
            stack[height] = np.array([a, middle, qa, query_middle, level + 1])
            stack[height + 1] = np.array([middle, b, query_middle, qb, level + 1])
            height += 2
    return out


@compiled
def _votes(x, y, query, classes, trees, tried, balanced, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)  # noqa: NPY002  numba's own generator
    n, d = x.shape
    q = query.shape[0]
    out = np.zeros((q, classes))
    weight = np.empty(n)
    rows, order, moved = np.empty(n, np.int64), np.empty(q, np.int64), np.empty(max(n, q), np.int64)
    features = np.arange(d)
    values = np.empty(n)
    left, right, total = np.empty(classes), np.empty(classes), np.empty(classes)
    stack = np.empty((2 * n + 2, 4), np.int64)
    for _ in range(trees):
        weight[:] = 0
        for _ in range(n):
            i = np.random.randint(0, n)  # noqa: NPY002
            weight[i] += balanced[y[i]]
        m = 0
        for i in range(n):
            if weight[i] > 0:
                rows[m] = i
                m += 1
        for i in range(q):
            order[i] = i
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, m, 0, q
        depth = 1
        while depth > 0:
            depth -= 1
            a, b, qa, qb = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
            if qa == qb:
                continue
            total[:] = 0
            for i in range(a, b):
                total[y[rows[i]]] += weight[rows[i]]
            whole = total.sum()
            kinds = 0
            for c in range(classes):
                kinds += total[c] > 0
            best, feature, cut = -1.0, -1, 0.0
            if kinds > 1:
                seen = 0
                for k in range(d):
                    j = np.random.randint(k, d)  # noqa: NPY002
                    features[k], features[j] = features[j], features[k]
                    f = features[k]
                    for i in range(a, b):
                        values[i - a] = x[rows[i], f]
                    rank = np.argsort(values[: b - a])
                    if values[rank[b - a - 1]] <= values[rank[0]] + 1e-7:
                        continue
                    left[:] = 0
                    right[:] = total
                    mass = 0.0
                    for i in range(b - a - 1):
                        r = rows[a + rank[i]]
                        w = weight[r]
                        left[y[r]] += w
                        right[y[r]] -= w
                        mass += w
                        low, high = values[rank[i]], values[rank[i + 1]]
                        if high <= low + 1e-7:
                            continue
                        gain = (left * left).sum() / mass + (right * right).sum() / (whole - mass)
                        if gain > best:
                            best, feature, cut = gain, f, 0.5 * (low + high)
                    seen += 1
                    if seen >= tried:
                        break
            if feature < 0:
                for i in range(qa, qb):
                    for c in range(classes):
                        out[order[i], c] += total[c] / whole
                continue
            middle = _part(rows, a, b, x[:, feature], cut, moved)
            query_middle = _part(order, qa, qb, query[:, feature], cut, moved)
            stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3] = a, middle, qa, query_middle
            stack[depth + 1, 0], stack[depth + 1, 1], stack[depth + 1, 2], stack[depth + 1, 3] = middle, b, query_middle, qb
            depth += 2
    return out / trees


@compiled
def _part(index, start, end, values, cut, moved):  # type: ignore[no-untyped-def]
    """Bring what lies at or below the cut to the front, in place; returns where the rest begins."""
    low, high = start, 0
    for i in range(start, end):
        if values[index[i]] <= cut:
            index[low] = index[i]
            low += 1
        else:
            moved[high] = index[i]
            high += 1
    for i in range(high):
        index[low + i] = moved[i]
    return low
