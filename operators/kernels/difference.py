"""The loops behind image subtraction: resampling, products of transforms, the noise of a source, peaks, cut-outs.

planes (h, w) float32 → the same; the array forms beside their callers in `operators/images` are their oracles
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled

TAPS = 6
"""Of Lanczos' kernel with three lobes."""
RING = 3
"""Distance at which the light around a pixel is read [pixel]."""


@compiled(reassociate=True)
def resample_plane(image, m, table, fill, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Read out(y, x) = image at m @ (1, y, x, y², yx, x²)ᵀ by separable weights of the nearest phase in `table` (phases + 1, 6)."""
    h, w = image.shape
    phases = np.float64(table.shape[0] - 1)
    for i in range(out.shape[0]):
        y = np.float64(i)
        for j in range(out.shape[1]):
            x = np.float64(j)
            at_y = m[0, 0] + m[0, 1] * y + m[0, 2] * x + m[0, 3] * y * y + m[0, 4] * y * x + m[0, 5] * x * x
            at_x = m[1, 0] + m[1, 1] * y + m[1, 2] * x + m[1, 3] * y * y + m[1, 4] * y * x + m[1, 5] * x * x
            a, b = np.int64(np.floor(at_y)), np.int64(np.floor(at_x))
            if a < 2 or b < 2 or a > h - 4 or b > w - 4:
                out[i, j] = fill
                continue
            p, q = np.int64((at_y - a) * phases + 0.5), np.int64((at_x - b) * phases + 0.5)
            total = np.float32(0.0)
            for k in range(6):
                row = np.float32(0.0)
                for n in range(6):
                    row += table[q, n] * image[a - 2 + k, b - 2 + n]
                total += table[p, k] * row
            out[i, j] = total


@compiled
def fill_masked(new, mask, ref_mask, ref, beta, unusable, no_data, image, both, good):  # type: ignore[no-untyped-def] # pragma: no cover
    """Put the reference, scaled, where either image has no usable pixel; the mask of both and where it says so."""
    h, w = new.shape
    for i in range(h):
        for j in range(w):
            v = new[i, j]
            bits = mask[i, j] | ref_mask[i, j]
            finite = abs(v) < np.float32(np.inf)
            if not finite:
                bits |= no_data
            use = finite and (bits & unusable) == 0
            image[i, j] = v if use else beta * ref[i, j]
            both[i, j] = bits
            good[i, j] = use


@compiled(reassociate=True)
def products(new, new_psf, ref, ref_psf, ref_power, beta, var_new, var_ref, floor, d, s, g):  # type: ignore[no-untyped-def] # pragma: no cover
    """Transforms of the difference, of its matched filter and of the filter's share of the reference; the sum of |F_D P_D|².

    All as (h, 2 w) of real and imaginary parts in turn but for the power (h, w).
    """
    h, w = ref_power.shape
    total = np.float64(0.0)
    bb = beta * beta
    for i in range(h):
        n_, p_, r_, q_, a_ = new[i], new_psf[i], ref[i], ref_psf[i], ref_power[i]
        d_, s_, g_ = d[i], s[i], g[i]
        row = np.float32(0.0)
        for j in range(w):
            k = 2 * j
            nr, ni, pr, pi = n_[k], n_[k + 1], p_[k], p_[k + 1]
            rr, ri, qr, qi = r_[k], r_[k + 1], q_[k], q_[k + 1]
            a = a_[j]
            b = pr * pr + pi * pi
            root = np.float32(1.0) / np.sqrt(max(var_new * a + var_ref * bb * b, floor))
            inverse = root * root
            kn, kr = beta * a * inverse, bb * b * inverse
            gr, gi = kr * (qr * rr + qi * ri), kr * (qr * ri - qi * rr)
            g_[k], g_[k + 1] = gr, gi
            s_[k], s_[k + 1] = kn * (pr * nr + pi * ni) - gr, kn * (pr * ni - pi * nr) - gi
            d_[k] = (qr * nr - qi * ni - beta * (pr * rr - pi * ri)) * root
            d_[k + 1] = (qr * ni + qi * nr - beta * (pr * ri + pi * rr)) * root
            row += kn * b
        total += np.float64(2.0) * row
        for j in (0, w - 1):  # the first and the last column stand once (the width is even)
            b = p_[2 * j] * p_[2 * j] + p_[2 * j + 1] * p_[2 * j + 1]
            total -= beta * a_[j] * b / max(var_new * a_[j] + var_ref * bb * b, floor)
    return beta * total


@compiled(reassociate=True)
def convolve_separable(image, taps_y, taps_x, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Zero beyond the edges."""
    h, w = image.shape
    m = len(taps_y)
    half = m // 2
    column = np.empty(w + 2 * half, np.float32)
    column[:half] = np.float32(0.0)
    column[w + half :] = np.float32(0.0)
    for i in range(h):
        inner = column[half : w + half]
        for j in range(w):
            inner[j] = np.float32(0.0)
        for k in range(m):
            row = i + k - half
            if 0 <= row < h:
                t = taps_y[k]
                source = image[row]
                for j in range(w):
                    inner[j] += t * source[j]
        target = out[i]
        for j in range(w):
            target[j] = np.float32(0.0)
        for k in range(m):
            t = taps_x[k]
            moved = column[k : k + w]
            for j in range(w):
                target[j] += t * moved[j]


@compiled(reassociate=True)
def judge_plane(flux, static, light, base, mean, spread, significance, noise):  # type: ignore[no-untyped-def] # pragma: no cover
    """Noise and significance of the flux less the mean misfit.

    mean, spread: (6,) and (7,) coefficients, and their variance, of the static light, its two slopes, its curvature, the two differences of
    curvatures, and the light around (of which nothing is taken out).
    """
    h, w = flux.shape
    wide = np.empty((3, w + 2 * RING), np.float32)
    for i in range(h):
        for k in range(3):  # the rows above, here and below, with their ends repeated, so that the loop over columns has no exceptions
            row, source = wide[k], static[min(max(i + k - 1, 0), h - 1)]
            row[:RING] = source[0]
            row[RING + w :] = source[w - 1]
            for j in range(w):
                row[RING + j] = source[j]
        judge_row(
            flux[i], wide[0], wide[1], wide[2], static[max(i - RING, 0)], static[min(i + RING, h - 1)], light[i], base[i], mean, spread,
            significance[i], noise[i],
        )  # fmt: skip


@compiled(reassociate=True)
def judge_row(  # type: ignore[no-untyped-def] # pragma: no cover
    flux, above, here, below, far_above, far_below, light, base, mean, spread, significance, noise,
):  # fmt: skip
    """Judge one row; the three rows of static light near it begin `RING` pixels before it."""
    zero, quarter, half, four = np.float32(0.0), np.float32(0.25), np.float32(0.5), np.float32(4.0)
    m0, m1, m2, m3, m4, m5 = mean[0], mean[1], mean[2], mean[3], mean[4], mean[5]
    s0, s1, s2, s3, s4, s5, s6 = spread[0], spread[1], spread[2], spread[3], spread[4], spread[5], spread[6]
    for j in range(len(flux)):
        k = j + RING
        g = here[k]
        vertical, horizontal = above[k] + below[k], here[k - 1] + here[k + 1]
        gy, gx = (below[k] - above[k]) * half, (here[k + 1] - here[k - 1]) * half
        bend, differ = vertical + horizontal - four * g, vertical - horizontal
        cross = (below[k + 1] + above[k - 1] - below[k - 1] - above[k + 1]) * quarter
        around = (far_above[j] + far_below[j] + here[k - RING] + here[k + RING]) * quarter
        f = flux[j] - (m0 * g + m1 * gy + m2 * gx + m3 * bend + m4 * differ + m5 * cross)
        v = base[j] + max(light[j], zero) + s0 * g * g + s1 * gy * gy + s2 * gx * gx
        v += s3 * bend * bend + s4 * differ * differ + s5 * cross * cross + s6 * around * around
        n = np.sqrt(v)
        noise[j] = n
        significance[j] = f / n


@compiled
def widen(significance, noise, width):  # type: ignore[no-untyped-def] # pragma: no cover
    """Divide and multiply by a width in place; 0 where the significance is not finite."""
    inverse = np.float32(1.0) / width
    for i in range(significance.shape[0]):
        for j in range(significance.shape[1]):
            s = significance[i, j] * inverse
            significance[i, j] = s if abs(s) < np.float32(np.inf) else np.float32(0.0)
            noise[i, j] *= width


@compiled
def find_peaks(s, threshold, most):  # type: ignore[no-untyped-def] # pragma: no cover
    """Rows and columns of maxima of |s| among their 24 neighbours; of equal ones the first counts. At most so many."""
    h, w = s.shape
    out = np.empty((most, 2), np.int64)
    k = 0
    for i in range(2, h - 2):
        for j in range(2, w - 2):
            v = abs(s[i, j])
            if v > threshold and k < most:
                top = True
                for y in range(-2, 3):
                    for x in range(-2, 3):
                        q = abs(s[i + y, j + x])
                        if q > v or (q == v and (y < 0 or (y == 0 and x < 0))):
                            top = False
                if top:
                    out[k, 0] = i
                    out[k, 1] = j
                    k += 1
    return out[:k]


@compiled
def cut_stamps(image, corner, out):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill out (k, s, s): the image from each corner on; what lies beyond the image is left as it is."""
    h, w = image.shape
    size = out.shape[1]
    for k in range(len(corner)):
        y0, x0 = corner[k, 0], corner[k, 1]
        for y in range(max(0, -y0), min(size, h - y0)):
            for x in range(max(0, -x0), min(size, w - x0)):
                out[k, y, x] = image[y0 + y, x0 + x]
