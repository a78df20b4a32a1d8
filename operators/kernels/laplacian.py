"""`operators.images.cosmic_rays.cosmic_rays_array` evaluated only where its answer can be yes, with the same bits.

One dense pass makes the Laplacian. Medians, a hundred times dearer, are taken where it is large enough: S' = S - median(S) is at most S, as
S is not negative, and the noise is at least that of the smallest value around, so what lies below sigma times twice that noise cannot be a
cosmic ray. After the first iteration only pixels within four of one that was cleaned can change: two of S' median, two of the noise's.
"""

from __future__ import annotations

import numpy as np

from operators.images.planes import BAD, COSMIC_RAY, NO_DATA, SATURATED, TRAIL
from operators.kernels.compiled import compiled
from operators.kernels.order import kth_smallest

F = np.float32
RUN = 5
"""Saturated pixels in a row of a column from which on it is a bleeding star: more than a cosmic ray saturates."""
STAR_SHARE = 0.1
"""Of a saturated pixel's value, that the median around it reaches in a star."""
LEAST_VARIANCE = 1e-5
"""[e-^2]"""
LEAST_CONTRAST = 0.01
"""[sigma] of the fine structure, by which is divided."""
_TILE = 32
"""Side of the squares whose smallest value bounds their noise."""
_HOLE, _OUT = np.uint8(BAD | NO_DATA), np.uint8(BAD | NO_DATA | TRAIL)
_SATURATED, _COSMIC_RAY = np.uint8(SATURATED), np.uint8(COSMIC_RAY)
_FIRST = np.int64(0)


@compiled
def window_median(x, i, j, r, work):  # type: ignore[no-untyped-def] # pragma: no cover
    """The median of a square of 2 r + 1; a pixel nearer to the border keeps its value."""
    h, w = x.shape
    if i < r or j < r or i >= h - r or j >= w - r:
        return x[i, j]
    n = 0
    for y in range(i - r, i + r + 1):
        for z in range(j - r, j + r + 1):
            work[n] = x[y, z]
            n += 1
    return kth_smallest(work, _FIRST, np.int64(n - 1), np.int64(n >> 1))


@compiled
def laplacian_at(c, i, j):  # type: ignore[no-untyped-def] # pragma: no cover
    """The positive Laplacian on pixels cut in four, averaged; nothing lies beyond the border."""
    h, w = c.shape
    zero = F(0)
    above = c[i - 1, j] if i > 0 else zero
    below = c[i + 1, j] if i < h - 1 else zero
    left = c[i, j - 1] if j > 0 else zero
    right = c[i, j + 1] if j < w - 1 else zero
    u, d = F(2) * c[i, j] - above, F(2) * c[i, j] - below
    return (max(u - left, zero) + max(u - right, zero) + max(d - left, zero) + max(d - right, zero)) * F(0.25)


@compiled
def laplacian(c, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """`laplacian_at` of every pixel."""
    h, w = c.shape
    zero = F(0)
    for i in range(h):
        if 0 < i < h - 1 and w > 2:
            before, here, after, row = c[i - 1], c[i], c[i + 1], out[i]
            for j in range(1, w - 1):
                twice = F(2) * here[j]
                u, d = twice - before[j], twice - after[j]
                left, right = here[j - 1], here[j + 1]
                row[j] = (max(u - left, zero) + max(u - right, zero) + max(d - left, zero) + max(d - right, zero)) * F(0.25)
            row[0] = laplacian_at(c, i, 0)
            row[w - 1] = laplacian_at(c, i, w - 1)
        else:
            for j in range(w):
                out[i, j] = laplacian_at(c, i, j)


@compiled
def _noise_at(c, i, j, noise2, work):  # type: ignore[no-untyped-def] # pragma: no cover
    return np.sqrt(max(window_median(c, i, j, 2, work) + noise2, F(LEAST_VARIANCE)))


@compiled
def _s_at(c, lap, s, i, j, noise2, work):  # type: ignore[no-untyped-def] # pragma: no cover
    """S of one pixel, kept in `s`, where -1 is one not asked for yet."""
    value = s[i, j]
    if value < 0:
        value = lap[i, j] / (F(2) * _noise_at(c, i, j, noise2, work)) if lap[i, j] > 0 else F(0)
        s[i, j] = value
    return value


@compiled
def _excess_at(c, lap, s, i, j, noise2, least, work, window):  # type: ignore[no-untyped-def] # pragma: no cover
    """S' of one pixel where it is above `least`, else 0; near the border, where the median is the pixel itself, it is 0."""
    h, w = c.shape
    if i < 2 or j < 2 or i >= h - 2 or j >= w - 2:
        return F(0)
    value = _s_at(c, lap, s, i, j, noise2, work)
    if not value > least:
        return F(0)
    n = 0
    for y in range(i - 2, i + 3):
        for x in range(j - 2, j + 3):
            window[n] = _s_at(c, lap, s, y, x, noise2, work)
            n += 1
    value -= kth_smallest(window, _FIRST, np.int64(24), np.int64(12))
    return value if value > least else F(0)


@compiled
def _fine_at(c, i, j, noise2, work, window):  # type: ignore[no-untyped-def] # pragma: no cover
    """Structure that a point source has and a cosmic ray has not: a median of 3 less that of 7 of it [sigma]."""
    h, w = c.shape
    small = window_median(c, i, j, 1, work)
    large = small
    if i >= 3 and j >= 3 and i < h - 3 and j < w - 3:
        n = 0
        for y in range(i - 3, i + 4):
            for x in range(j - 3, j + 4):
                window[n] = window_median(c, y, x, 1, work)
                n += 1
        large = kth_smallest(window, _FIRST, np.int64(48), np.int64(24))
    return max((small - large) / _noise_at(c, i, j, noise2, work), F(LEAST_CONTRAST))


@compiled
def mean_around(c, i, j, out_of, also_out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Sum and number of the good pixels within two, in the order of rows."""
    h, w = c.shape
    total, n = F(0), 0
    for y in range(max(i - 2, 0), min(i + 3, h)):
        for x in range(max(j - 2, 0), min(j + 3, w)):
            if out_of[y, x] == 0 and also_out[y, x] == 0:
                total += c[y, x]
                n += 1
    return total, n


@compiled
def _level(c, out_of, also_out):  # type: ignore[no-untyped-def] # pragma: no cover
    """The lower median of the good pixels, 0 of none."""
    h, w = c.shape
    work = np.empty(h * w, F)
    n = 0
    for i in range(h):
        for j in range(w):
            if out_of[i, j] == 0 and also_out[i, j] == 0:
                work[n] = c[i, j]
                n += 1
    return kth_smallest(work, _FIRST, np.int64(n - 1), np.int64((n - 1) >> 1)) if n > 0 else F(0)


@compiled
def fill_holes(c, mask, hole):  # type: ignore[no-untyped-def] # pragma: no cover
    """Give bad pixels and those that are not finite the mean of the good ones within two; `hole` is filled; how many they are."""
    h, w = c.shape
    n = 0
    for i in range(h):
        for j in range(w):
            is_hole = (mask[i, j] & _HOLE) != 0 or not abs(c[i, j]) < F(np.inf)
            hole[i, j] = is_hole
            n += is_hole
    if n == 0:
        return 0
    level = F(np.nan)
    for i in range(h):
        for j in range(w):
            if hole[i, j] != 0:
                total, good = mean_around(c, i, j, hole, hole)
                if good == 0 and level != level:
                    level = _level(c, hole, hole)
                c[i, j] = total / F(good) if good > 0 else level
    return n


@compiled
def exclude(c, mask, hole, excluded):  # type: ignore[no-untyped-def] # pragma: no cover
    """Where no cosmic ray is looked for: holes and trails with one pixel around, saturated stars and what they bled with four."""
    h, w = c.shape
    work = np.empty(25, F)
    for i in range(h):
        for j in range(w):
            if hole[i, j] != 0 or (mask[i, j] & _OUT) != 0:
                for y in range(max(i - 1, 0), min(i + 2, h)):
                    for x in range(max(j - 1, 0), min(j + 2, w)):
                        excluded[y, x] = 1
            if (mask[i, j] & _SATURATED) == 0:
                continue
            first, last = i, i
            while first > 0 and i - first < RUN and (mask[first - 1, j] & _SATURATED) != 0:
                first -= 1
            while last < h - 1 and last - i < RUN and (mask[last + 1, j] & _SATURATED) != 0:
                last += 1
            if last - first + 1 >= RUN or window_median(c, i, j, 2, work) > F(STAR_SHARE) * c[i, j]:
                for y in range(max(i - 4, 0), min(i + 5, h)):
                    reach = min(6 - abs(y - i), 4)
                    for x in range(max(j - reach, 0), min(j + reach + 1, w)):
                        excluded[y, x] = 1


@compiled
def _first_candidates(c, lap, excluded, noise2, sigma, at):  # type: ignore[no-untyped-def] # pragma: no cover
    """Every pixel whose Laplacian allows S' > sigma; how many they are."""
    h, w = c.shape
    n = 0
    for top in range(0, h, _TILE):
        end = min(top + _TILE, h)
        for left in range(0, w, _TILE):
            right = min(left + _TILE, w)
            least = F(np.inf)
            for i in range(max(top - 2, 0), min(end + 2, h)):
                row = c[i, max(left - 2, 0) : min(right + 2, w)]
                for value in row:
                    least = min(least, value)
            bound = F(2) * sigma * np.sqrt(max(least + noise2, F(LEAST_VARIANCE)))
            for i in range(top, end):
                for j in range(left, right):
                    if lap[i, j] > bound and excluded[i, j] == 0:
                        at[n] = i * w + j
                        n += 1
    return n


@compiled
def _flag(c, lap, s, excluded, seen, mark, at, n, limits, found, flagged):  # type: ignore[no-untyped-def] # pragma: no cover
    """Candidates that are cosmic rays and, in two rounds, their neighbours; how many are listed in `flagged`, and how many are new."""
    h, w = c.shape
    noise2, sigma, low, contrast = limits
    work, window = np.empty(49, F), np.empty(49, F)
    count = 0
    for k in range(n):
        i, j = at[k] // w, at[k] % w
        excess = _excess_at(c, lap, s, i, j, noise2, sigma, work, window)
        if excess > 0 and excess / _fine_at(c, i, j, noise2, work, window) > contrast:
            flagged[count] = at[k]
            seen[i, j] = mark
            count += 1
    for least in (sigma, low):
        before = count
        for k in range(before):
            i, j = flagged[k] // w, flagged[k] % w
            for y in range(max(i - 1, 0), min(i + 2, h)):
                for x in range(max(j - 1, 0), min(j + 2, w)):
                    fresh = seen[y, x] != mark and excluded[y, x] == 0
                    if fresh and _excess_at(c, lap, s, y, x, noise2, least, work, window) > 0:
                        seen[y, x] = mark
                        flagged[count] = y * w + x
                        count += 1
    new = 0
    for k in range(count):
        i, j = flagged[k] // w, flagged[k] % w
        new += found[i, j] == 0
        found[i, j] = _COSMIC_RAY
    return count, new


@compiled
def _clean(c, found, excluded, flagged, count, changed):  # type: ignore[no-untyped-def] # pragma: no cover
    """Give cosmic rays within two of a flagged pixel the mean of the good ones within two of theirs; how many changed."""
    h, w = c.shape
    level = F(np.nan)
    n = 0
    for k in range(count):
        i, j = flagged[k] // w, flagged[k] % w
        for y in range(max(i - 2, 2), min(i + 3, h - 2)):
            for x in range(max(j - 2, 2), min(j + 3, w - 2)):
                if found[y, x] != 0:
                    total, good = mean_around(c, y, x, found, excluded)
                    if good == 0 and level != level:
                        level = _level(c, found, excluded)
                    value = total / F(good) if good > 0 else level
                    if value != c[y, x]:  # good pixels stay as they are, so a second visit changes nothing
                        c[y, x] = value
                        changed[n] = y * w + x
                        n += 1
    return n


@compiled
def _candidates_near(c, lap, s, excluded, seen, mark, changed, n, noise2, sigma, at):  # type: ignore[no-untyped-def] # pragma: no cover
    """Renew Laplacian and S where pixels changed, and list what can be flagged within four of them; how many they are."""
    h, w = c.shape
    for k in range(n):
        i, j = changed[k] // w, changed[k] % w
        for y in range(max(i - 2, 0), min(i + 3, h)):
            for x in range(max(j - 2, 0), min(j + 3, w)):
                s[y, x] = F(-1)
                if abs(y - i) < 2 and abs(x - j) < 2:
                    lap[y, x] = laplacian_at(c, y, x)
    count = 0
    bound = F(2) * sigma * np.sqrt(F(LEAST_VARIANCE))
    for k in range(n):
        i, j = changed[k] // w, changed[k] % w
        for y in range(max(i - 4, 0), min(i + 5, h)):
            for x in range(max(j - 4, 0), min(j + 5, w)):
                if seen[y, x] != mark and excluded[y, x] == 0:
                    seen[y, x] = mark
                    if lap[y, x] > bound:
                        at[count] = y * w + x
                        count += 1
    return count


@compiled
def find(c, excluded, limits, iterations, found):  # type: ignore[no-untyped-def] # pragma: no cover
    """Flag cosmic rays in `found` and take them out of c (filled, see `fill_holes`).

    limits: read noise squared, sigma, its share for neighbours times sigma, contrast.
    """
    h, w = c.shape
    noise2, sigma = limits[0], limits[1]
    lap = np.empty((h, w), F)
    s = np.full((h, w), F(-1))
    seen = np.zeros((h, w), np.int8)
    at, flagged, changed = np.empty(h * w, np.int32), np.empty(h * w, np.int32), np.empty(h * w, np.int32)
    laplacian(c, lap)
    n = _first_candidates(c, lap, excluded, noise2, sigma, at)
    for iteration in range(iterations):
        count, new = _flag(c, lap, s, excluded, seen, np.int8(2 * iteration + 1), at, n, limits, found, flagged)
        if new == 0:  # nothing would be cleaned anew, so every further iteration would give the same
            break
        n = _clean(c, found, excluded, flagged, count, changed)
        n = _candidates_near(c, lap, s, excluded, seen, np.int8(2 * iteration + 2), changed, n, noise2, sigma, at)
