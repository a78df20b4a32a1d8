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
def products(new, new_psf, ref, ref_psf, ref_power, beta, var_new, var_ref, floor, d, s, g):  # type: ignore[no-untyped-def] # pragma: no cover
    """Transforms of the difference, of its matched filter and of the filter's share of the reference; the sum of |F_D P_D|²."""
    h, w = new.shape
    even = np.float64(2.0)
    total = 0.0
    for i in range(h):
        for j in range(w):
            pn, pr = new_psf[i, j], ref_psf[i, j]
            a = ref_power[i, j]
            b = pn.real * pn.real + pn.imag * pn.imag
            inverse = np.float32(1.0) / max(var_new * a + var_ref * beta * beta * b, floor)
            kn = beta * a * inverse * np.conj(pn)
            gr = beta * beta * b * inverse * np.conj(pr) * ref[i, j]
            d[i, j] = (pr * new[i, j] - beta * pn * ref[i, j]) * np.sqrt(inverse)
            s[i, j] = kn * new[i, j] - gr
            g[i, j] = gr
            total += (even if j > 0 else 1.0) * beta * beta * a * b * inverse
        total -= beta * beta * a * b * inverse  # the last column, which stands once (the width is even)
    return total


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
    """Take the mean misfit out of the flux (in place); its noise, and the significance.

    mean, spread: (6,) and (7,) coefficients, and their variance, of the static light, its two slopes, its curvature, the two differences of
    curvatures, and the light around (of which nothing is taken out). What the flux scale of stars scatters by, a new source's does too.
    """
    h, w = flux.shape
    zero, quarter, half, four = np.float32(0.0), np.float32(0.25), np.float32(0.5), np.float32(4.0)
    m0, m1, m2, m3, m4, m5 = mean
    s0, s1, s2, s3, s4, s5, s6 = spread
    reach = RING
    for i in range(h):
        above, here, below = static[max(i - 1, 0)], static[i], static[min(i + 1, h - 1)]
        far_above, far_below = static[max(i - reach, 0)], static[min(i + reach, h - 1)]
        for j in range(w):
            if reach <= j < w - reach:
                left, right, far_left, far_right = j - 1, j + 1, j - reach, j + reach
            else:
                left, right, far_left, far_right = max(j - 1, 0), min(j + 1, w - 1), max(j - reach, 0), min(j + reach, w - 1)
            g = here[j]
            vertical, horizontal = above[j] + below[j], here[left] + here[right]
            gy, gx = (below[j] - above[j]) * half, (here[right] - here[left]) * half
            bend, differ = vertical + horizontal - four * g, vertical - horizontal
            cross = (below[right] + above[left] - below[left] - above[right]) * quarter
            around = (far_above[j] + far_below[j] + here[far_left] + here[far_right]) * quarter
            f = flux[i, j] - (m0 * g + m1 * gy + m2 * gx + m3 * bend + m4 * differ + m5 * cross)
            v = base[i, j] + max(light[i, j], zero)
            v += (
                s0 * (g * g + f * f)
                + s1 * gy * gy
                + s2 * gx * gx
                + s3 * bend * bend
                + s4 * differ * differ
                + s5 * cross * cross
                + s6 * around * around
            )
            n = np.sqrt(v)
            flux[i, j] = f
            noise[i, j] = n
            significance[i, j] = f / n


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
