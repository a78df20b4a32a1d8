"""The two loops of tile-compressed images: Rice's code, and undoing a subtractive dither.

No read or write passes an array's end, whatever the bytes say.

Rice's code: Rice, Yeh & Miller 1993, as FITS has it (standard 4.0, sect. 10.4.1); dithers: White et al. 2012, sect. 10.2.2.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.compiled import compiled
from operators.types import F32

N_RANDOM = 10_000
"""Length of the table of random numbers that the standard prescribes (appendix I)."""
NULL, ZERO = -2_147_483_647, -2_147_483_646
"""Quantised values that stand for NaN, and (second method of dithering) for exactly 0."""


LENGTHS = np.array([n.bit_length() for n in range(256)], np.int64)
"""Of a byte: up to its highest bit that is set."""


def random_numbers() -> F32:
    """The standard's table (appendix I): Park & Miller's minimal generator from the seed 1."""
    seed, out = 1, np.empty(N_RANDOM, np.float32)
    for k in range(N_RANDOM):
        seed = 16_807 * seed % 2_147_483_647
        out[k] = seed / 2_147_483_647
    return out


@compiled
def rice_decode(code, out, block, fs_bits, fs_max, bits):  # type: ignore[no-untyped-def] # pragma: no cover
    """Decode a tile.

    Parameters
    ----------
    code : (n,) uint8
    out : (pixels,) integers, written
    block : pixels that share a number of split bits
    fs_bits, fs_max, bits : of that number, the number that means uncoded, and of a pixel: 5, 25, 32; 4, 14, 16 or 3, 6, 8

    Returns
    -------
    bool
        Whether the code held all pixels.
    """
    first = bits // 8
    n, end = len(out), len(code)
    if end <= first or block < 1:
        return False
    last = np.int64(0)
    for k in range(first):
        last = (last << 8) | np.int64(code[k])
    at = first + 1
    b, n_bits = np.int64(code[first]), 8
    mask = (np.int64(1) << bits) - 1
    i = 0
    while i < n:
        n_bits -= fs_bits
        while n_bits < 0:
            if at >= end:
                return False
            b = (b << 8) | np.int64(code[at])
            at += 1
            n_bits += 8
        fs = (b >> n_bits) - 1
        b &= (np.int64(1) << n_bits) - 1
        stop = min(i + block, n)
        if fs < 0:
            while i < stop:
                out[i] = last
                i += 1
        elif fs == fs_max:
            while i < stop:
                k = bits - n_bits
                diff = b << k
                k -= 8
                while k >= 0:
                    if at >= end:
                        return False
                    b = np.int64(code[at])
                    at += 1
                    diff |= b << k
                    k -= 8
                if n_bits > 0:
                    if at >= end:
                        return False
                    b = np.int64(code[at])
                    at += 1
                    diff |= b >> (-k)
                    b &= (np.int64(1) << n_bits) - 1
                else:
                    b = np.int64(0)
                diff = ~(diff >> 1) if diff & 1 else diff >> 1
                last = (diff + last) & mask
                out[i] = last
                i += 1
        elif fs > fs_max:
            return False
        else:
            while i < stop:
                while b == 0:
                    if at >= end:
                        return False
                    n_bits += 8
                    b = np.int64(code[at])
                    at += 1
                zeros = n_bits - LENGTHS[b & 255]  # of the bits that are left, eight at most
                n_bits -= zeros + 1
                b ^= np.int64(1) << n_bits
                n_bits -= fs
                while n_bits < 0:
                    if at >= end:
                        return False
                    b = (b << 8) | np.int64(code[at])
                    at += 1
                    n_bits += 8
                diff = (np.int64(zeros) << fs) | (b >> n_bits)
                b &= (np.int64(1) << n_bits) - 1
                diff = ~(diff >> 1) if diff & 1 else diff >> 1
                last = (diff + last) & mask
                out[i] = last
                i += 1
    return True


@compiled
def undither(stored, out, scale, zero, random, seed, second):  # type: ignore[no-untyped-def] # pragma: no cover
    """Quantised integers of a tile → float32 by the dither's random numbers.

    Parameters
    ----------
    stored : (pixels,) int32
    out : (pixels,) float32, written
    scale, zero : of the tile
    random : `random_numbers`
    seed : number of the tile and the file's seed, from 0
    second : whether `ZERO` stands for exactly 0
    """
    start = seed % len(random)
    at = int(random[start] * np.float32(500.0))
    for i in range(len(stored)):
        if stored[i] == NULL:
            out[i] = np.nan
        elif second and stored[i] == ZERO:
            out[i] = 0.0
        else:
            out[i] = (np.float64(stored[i]) - np.float64(random[at]) + 0.5) * scale + zero
        at += 1
        if at == len(random):
            start = (start + 1) % len(random)
            at = int(random[start] * np.float32(500.0))
