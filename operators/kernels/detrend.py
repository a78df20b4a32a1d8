"""The loops behind `operators.detrend`: a robust location in a sliding window, boxes that find dips and flares.

points of one target, sorted by time, (N,) float64 → trend, its error, points in the window; marks of events

The window's members lie sorted in a buffer, so median and MAD cost a few look-ups. The biweight's weights are a polynomial of the distance,
so the sums of a reweighting follow from six running power sums, less the few members beyond the cut-off, which lie at the buffer's ends.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.kernels.order import median

SIGMA_OF_MAD = 1.482602218505602
"""σ of a normal distribution over its median absolute deviation."""
_REACH = 2.5
"""Cut-offs around the reference that the power sums cover when they are made."""
_RENEW = 512
"""Windows after which they are made anew: round-off has no time to grow."""
_STEPS = 1000


@compiled
def lower_bound(a, n, x):  # type: ignore[no-untyped-def] # pragma: no cover
    """Index of the first of n ascending values that is not below x."""
    low, high = np.int64(0), np.int64(n)
    while low < high:
        middle = (low + high) >> 1
        if a[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def shift_down(a, begin, end):  # type: ignore[no-untyped-def] # pragma: no cover
    """a[begin … end - 1] become those one further on; unsigned indices, which cannot count from the end, move a vector at a time."""
    one = np.uint64(1)
    for j in range(np.uint64(begin), np.uint64(end)):
        a[j] = a[j + one]


@compiled
def shift_up(a, begin, end):  # type: ignore[no-untyped-def] # pragma: no cover
    """a[begin + 1 … end] become those one before."""
    one, top = np.uint64(1), np.uint64(end)
    for j in range(np.uint64(end - begin)):
        a[top - j] = a[top - j - one]


@compiled
def exchange(a, n, old, new):  # type: ignore[no-untyped-def] # pragma: no cover
    """Replace `old` by `new` among n ascending values; NaN for `old`: only put in, for `new`: only take out."""
    if old != old:
        p = lower_bound(a, n, new)
        shift_up(a, p, n)
        a[p] = new
        return
    k = lower_bound(a, n, old)
    if new != new:
        shift_down(a, k, n - 1)
        return
    p = lower_bound(a, n, new)  # looked up, so that what lies between moves as a block
    if p > k:
        p -= 1
        shift_down(a, k, p)
    else:
        shift_up(a, p, k)
    a[p] = new


@compiled
def kth_distance(a, n, above, middle, k):  # type: ignore[no-untyped-def] # pragma: no cover
    """The k-th smallest |a - middle|, k from 1; `above` is the index of the first value that is not below the middle."""
    low, high = max(np.int64(0), k - (n - above)), min(k, above)
    while low < high:
        i = (low + high) >> 1  # so many from below, the rest from above
        j = k - i
        if a[above + j - 1] - middle > middle - a[above - 1 - i]:
            low = i + 1
        else:
            high = i
    value = -np.inf
    if low > 0:
        value = middle - a[above - low]
    if k > low:
        value = max(value, a[above + k - low - 1] - middle)
    return value


@compiled
def median_and_mad(a, n):  # type: ignore[no-untyped-def] # pragma: no cover
    """Of n ascending values."""
    half = n >> 1
    middle = a[half] if n & 1 else (a[half - 1] + a[half]) / 2
    above = lower_bound(a, n, middle)
    mad = kth_distance(a, n, above, middle, (n + 1) >> 1)
    if n & 1 == 0:
        mad = (mad + kth_distance(a, n, above, middle, half + 1)) / 2
    return middle, mad


@compiled
def add_powers(p, y, sign):  # type: ignore[no-untyped-def] # pragma: no cover
    """Add y to the sums of y^0 … y^5, or take it away."""
    y2 = y * y
    p[0] += sign
    p[1] += sign * y
    p[2] += sign * y2
    p[3] += sign * y2 * y
    p[4] += sign * y2 * y2
    p[5] += sign * y2 * y2 * y


@compiled
def reweighted(a, n, p, ref, reach, c, cut):  # type: ignore[no-untyped-def] # pragma: no cover
    """One step, c + Σ d w / Σ w with w = (1 - (d / cut)²)² for d = a - c within the cut-off (Tukey's biweight)."""
    e = c - ref
    q = 1.0 / (cut * cut)
    m2 = p[2] - 2 * e * p[1] + e * e * p[0]  # sums of powers of a - c, from those of a - ref
    m1 = p[1] - e * p[0]
    m3 = p[3] - e * (3 * p[2] - e * (3 * p[1] - e * p[0]))
    m4 = p[4] - e * (4 * p[3] - e * (6 * p[2] - e * (4 * p[1] - e * p[0])))
    m5 = p[5] - e * (5 * p[4] - e * (10 * p[3] - e * (10 * p[2] - e * (5 * p[1] - e * p[0]))))
    weights = p[0] - q * (2 * m2 - q * m4)
    moment = m1 - q * (2 * m3 - q * m5)
    i = 0
    while i < n and a[i] <= c - cut:
        if a[i] > ref - reach:
            d = a[i] - c
            w = 1 - d * d * q
            weights -= w * w
            moment -= d * w * w
        i += 1
    i = n - 1
    while i >= 0 and a[i] >= c + cut:
        if a[i] < ref + reach:
            d = a[i] - c
            w = 1 - d * d * q
            weights -= w * w
            moment -= d * w * w
        i -= 1
    return c + moment / weights


@compiled
def sliding(  # type: ignore[no-untyped-def] # pragma: no cover
    t, x, edges, at, inside, needed, half, cut, tolerance, least, every, trend, scatter, count,
):  # fmt: skip
    """Location of x at the times `at` that are needed, in windows at - half <= t < at + half, in each segment alone.

    t, x: members, ascending and finite; those of segment s are edges[s] … edges[s + 1], and it is evaluated at the times
    inside[s, 0] … inside[s, 1]. cut [MAD]: of the biweight; 0: the median. every: of the needed times only each so many-th (and
    a run's last) is evaluated, those between by a straight line. Fewer than `least` members: NaN. Fills trend, scatter (MAD) and count.

    The fixed point is sought by plain steps and, while they approach it evenly, Aitken's extrapolation of two of them (Steffensen 1933);
    what is returned is always a plain step.
    """
    a = np.empty(len(t) + 1)
    p = np.zeros(6)
    for s in range(len(inside)):
        n = np.int64(0)
        first = end = edges[s]
        stop = edges[s + 1]
        ref, reach, age = np.nan, 0.0, 0
        left, since = np.int64(-1), 0
        mad, stale = np.nan, 0
        for i in range(inside[s, 0], inside[s, 1]):
            if not needed[i]:
                left = np.int64(-1)
                continue
            since += 1
            last = i + 1 == inside[s, 1] or not needed[i + 1]
            if left >= 0 and since < every and not last:
                continue
            low, high = at[i] - half, at[i] + half
            if n == 0 or t[end - 1] < low:  # nothing in common with the window before
                n = np.int64(0)
                while first < stop and t[first] < low:
                    first += 1
                end = first
                reach = 0.0
            while True:
                leaves = first < end and t[first] < low
                enters = end < stop and t[end] < high
                if not (leaves or enters):
                    break
                old = x[first] if leaves else np.nan
                new = x[end] if enters else np.nan
                exchange(a, n, old, new)
                if enters:
                    n += 1
                    end += 1
                    if abs(new - ref) < reach:
                        add_powers(p, new - ref, 1.0)
                if leaves:
                    n -= 1
                    first += 1
                    if abs(old - ref) < reach:
                        add_powers(p, old - ref, -1.0)
            count[i] = n
            trend[i], scatter[i] = np.nan, np.nan
            if n >= least:
                if cut > 0 or stale == 0:
                    c, mad = median_and_mad(a, n)
                else:  # a median needs no MAD, and its error changes slowly
                    c = a[n >> 1] if n & 1 else (a[(n >> 1) - 1] + a[n >> 1]) / 2
                stale = (stale + 1) & 7
                scatter[i] = mad
                if cut > 0 and mad > 0:
                    far = cut * mad
                    if not (abs(c - ref) + 1.5 * far < reach) or reach > 4 * far or age >= _RENEW:
                        ref, reach, age = c, _REACH * far, 0
                        for k in range(6):
                            p[k] = 0.0
                        for k in range(n):
                            if abs(a[k] - ref) < reach:
                                add_powers(p, a[k] - ref, 1.0)
                    age += 1
                    before = c
                    for k in range(_STEPS):
                        now = reweighted(a, n, p, ref, reach, c, far)
                        if abs(now - c) <= tolerance * mad:
                            c = now
                            break
                        rate = (now - c) / (c - before)
                        before = c
                        c = now
                        if k & 1 and 0 < rate < 0.9:
                            c = now + (now - before) * rate / (1 - rate)
                trend[i] = c
            if left >= 0 and i > left + 1:
                share = 1.0 / (at[i] - at[left])
                for k in range(left + 1, i):
                    part = (at[k] - at[left]) * share
                    trend[k] = trend[left] + part * (trend[i] - trend[left])
                    scatter[k] = scatter[left] + part * (scatter[i] - scatter[left])
                    count[k] = min(count[left], count[i])
            left, since = np.int64(i), 0


@compiled
def box_means(t, r, edges, width, least, mean, count):  # type: ignore[no-untyped-def] # pragma: no cover
    """Mean of r within width / 2 of each point, inside its segment; NaN where fewer than `least` points are there.

    edges: (S + 1,) indices where segments begin, and the number of points.
    """
    total = np.empty(len(t) + 1)
    total[0] = 0.0
    for i in range(len(t)):
        total[i + 1] = total[i] + r[i]
    for s in range(len(edges) - 1):
        a = z = edges[s]
        for i in range(edges[s], edges[s + 1]):
            while t[a] < t[i] - width / 2:
                a += 1
            while z < edges[s + 1] and t[z] <= t[i] + width / 2:
                z += 1
            count[i] = z - a
            mean[i] = (total[z] - total[a]) / (z - a) if z - a >= least else np.nan


@compiled
def significance(mean):  # type: ignore[no-untyped-def] # pragma: no cover
    """1 / σ of box means by their own MAD about 0, so that red noise counts; 0 where there are too few. `mean` may hold NaN."""
    size = np.empty(len(mean))
    n = 0
    for i in range(len(mean)):
        if mean[i] == mean[i]:
            size[n] = abs(mean[i])
            n += 1
    scale = SIGMA_OF_MAD * median(size[:n]) if n > 2 else 0.0
    return 1.0 / scale if scale > 0 else 0.0


@compiled
def mark_events(t, r, edges, allowed, widths, least, threshold, mark):  # type: ignore[no-untyped-def] # pragma: no cover
    """Mark the points around which a box's mean is further than `threshold` σ from 0, in dips and flares alike; how many there are.

    allowed: where a box's centre may lie. Of each run of such points the whole best box is marked, so that the shoulders go with it.
    """
    n = len(t)
    mean, count = np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        mark[i] = False
    for width in widths:
        box_means(t, r, edges, width, least, mean, count)
        per = significance(mean)
        best, top = np.int64(-1), 0.0
        for i in range(n + 1):
            far = abs(mean[i]) * per if i < n and allowed[i] else 0.0
            if far > threshold:
                mark[i] = True
                if far > top:
                    best, top = np.int64(i), far
            elif best >= 0:
                k = best
                while k >= 0 and t[k] >= t[best] - width / 2:
                    mark[k] = True
                    k -= 1
                k = best
                while k < n and t[k] <= t[best] + width / 2:
                    mark[k] = True
                    k += 1
                best, top = np.int64(-1), 0.0
    marked = 0
    for i in range(n):
        marked += mark[i]
    return marked


@compiled
def window_touches(t, changed, half, touched):  # type: ignore[no-untyped-def] # pragma: no cover
    """Which times' windows hold a changed point; both ascending."""
    first = 0
    for i in range(len(t)):
        while first < len(changed) and changed[first] < t[i] - half:
            first += 1
        touched[i] = first < len(changed) and changed[first] < t[i] + half
