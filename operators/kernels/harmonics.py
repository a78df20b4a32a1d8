"""Fits of a harmonic series to one star's magnitudes, the most frequent step of a period search.

magnitudes of one star, (N,) float64, and a frequency → coefficients (2 H + 1) of 1, cos, sin of h 2πft, and the variance left

The normal equations of a harmonic series hold nothing but Σ w cos kx, Σ w sin kx for k ≤ 2 H (products of cosines are cosines of sums), so
they cost 6 H sums a point instead of 2 H², each of them over a whole vector of points at a time.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled

HARMONICS = 8
"""Of the fitted curve: enough for the rise of an RRab and the eclipses of a close binary."""
RIDGE = 2e-4
"""Strength of the prior on harmonic h, times h²: keeps gaps in phase from being filled with waves."""
_SIZE = 2 * HARMONICS + 1
_QUARTER = 0.5 * np.pi


@compiled(reassociate=True)
def harmonic_fit(t, m, w, f, coefficients):  # type: ignore[no-untyped-def]
    """Weighted least squares on 1, cos, sin of h 2πft; fills `coefficients` (2 H + 1) and returns Σ w r² / Σ w."""
    n = len(t)
    work = np.empty((5, n))
    c1, s1, c, s, wm = work[0], work[1], work[2], work[3], work[4]
    phasors(t, f, c1, s1)
    co, si, right = np.zeros(_SIZE), np.zeros(_SIZE), np.zeros(_SIZE)
    weight = 0.0
    first = 0.0
    square = 0.0
    for j in range(n):
        c[j], s[j] = c1[j], s1[j]
        wm[j] = w[j] * m[j]
        weight += w[j]
        first += wm[j]
        square += wm[j] * m[j]
    co[0] = weight
    right[0] = first
    for h in range(1, _SIZE):
        a, b = 0.0, 0.0
        p, q = 0.0, 0.0
        if h <= HARMONICS:
            for j in range(n):
                x, y = c[j], s[j]
                a += w[j] * x
                b += w[j] * y
                p += wm[j] * x
                q += wm[j] * y
                c[j] = x * c1[j] - y * s1[j]
                s[j] = y * c1[j] + x * s1[j]
            right[2 * h - 1] = p
            right[2 * h] = q
        else:
            for j in range(n):
                x, y = c[j], s[j]
                a += w[j] * x
                b += w[j] * y
                c[j] = x * c1[j] - y * s1[j]
                s[j] = y * c1[j] + x * s1[j]
        co[h] = a
        si[h] = b
    return solve(co, si, right, square, coefficients)


@compiled(reassociate=True)
def phasors(t, f, c, s):  # type: ignore[no-untyped-def]
    """Cosine and sine of 2πft to 1e-15: of a quarter of the angle by its series, then of twice and four times it."""
    for j in range(len(t)):
        x = t[j] * f
        a = (x - np.floor(x + 0.5)) * _QUARTER
        z = a * a
        sine = a * (1 - z / 6 * (1 - z / 20 * (1 - z / 42 * (1 - z / 72 * (1 - z / 110 * (1 - z / 156 * (1 - z / 210)))))))
        cosine = 1 - z / 2 * (1 - z / 12 * (1 - z / 30 * (1 - z / 56 * (1 - z / 90 * (1 - z / 132 * (1 - z / 182 * (1 - z / 240)))))))
        c2, s2 = cosine * cosine - sine * sine, 2 * cosine * sine
        c[j], s[j] = c2 * c2 - s2 * s2, 2 * c2 * s2


@compiled(reassociate=True)
def solve(co, si, right, square, coefficients):  # type: ignore[no-untyped-def]
    """The normal equations from their sums, by Cholesky; the variance left follows from them without another pass.

    co, si (2 H + 1,): Σ w cos kx, Σ w sin kx; right (2 H + 1,): Σ w m of 1, cos hx, sin hx; square: Σ w m².
    """
    weight = co[0]
    matrix = np.empty((_SIZE, _SIZE))
    prior = np.empty(_SIZE)
    matrix[0, 0] = weight
    prior[0] = 1e-9 * weight
    for a in range(1, HARMONICS + 1):
        matrix[2 * a - 1, 0] = co[a]
        matrix[2 * a, 0] = si[a]
        prior[2 * a - 1] = prior[2 * a] = RIDGE * weight * a * a
        for b in range(1, a + 1):
            matrix[2 * a - 1, 2 * b - 1] = 0.5 * (co[a - b] + co[a + b])
            matrix[2 * a, 2 * b] = 0.5 * (co[a - b] - co[a + b])
            matrix[2 * a, 2 * b - 1] = 0.5 * (si[a + b] + si[a - b])  # sin ax cos bx
            if b < a:
                matrix[2 * a - 1, 2 * b] = 0.5 * (si[a + b] - si[a - b])  # cos ax sin bx
    for a in range(_SIZE):
        matrix[a, a] += prior[a]
    row = np.empty(_SIZE)
    for a in range(_SIZE):
        for b in range(a + 1):
            v = matrix[a, b]
            for k in range(b):
                v -= matrix[a, k] * matrix[b, k]
            if a == b:
                matrix[a, a] = np.sqrt(max(v, 1e-300))
            else:
                matrix[a, b] = v / matrix[b, b]
        v = right[a]
        for k in range(a):
            v -= matrix[a, k] * row[k]
        row[a] = v / matrix[a, a]
    left = square
    for a in range(_SIZE - 1, -1, -1):
        v = row[a]
        for k in range(a + 1, _SIZE):
            v -= matrix[k, a] * coefficients[k]
        coefficients[a] = v / matrix[a, a]
        # (M + R) c = r, so c'Mc - 2 c'r = -c'r - c'Rc
        left -= coefficients[a] * (right[a] + prior[a] * coefficients[a])
    return max(left, 0.0) / weight


@compiled
def harmonic_value(coefficients, phase):  # type: ignore[no-untyped-def]
    """The series at a phase [turns]."""
    x = 2 * np.pi * phase
    c1, s1 = np.cos(x), np.sin(x)
    c, s = 1.0, 0.0
    value = coefficients[0]
    for h in range((len(coefficients) - 1) // 2):
        c, s = c * c1 - s * s1, s * c1 + c * s1
        value += coefficients[2 * h + 1] * c + coefficients[2 * h + 2] * s
    return value
