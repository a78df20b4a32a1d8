"""Distances, extinction, black bodies and coordinates: the little astrophysics all classes share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_Z = np.concatenate([[0.0], np.geomspace(1e-5, 8.0, 1200)])
_E = np.sqrt(0.3 * (1 + _Z) ** 3 + 0.7)  # flat ΛCDM, H0 = 70 km/s/Mpc, Ωm = 0.3
_DC = np.concatenate([[0.0], np.cumsum(np.diff(_Z) * 0.5 * (1 / _E[1:] + 1 / _E[:-1]))]) * 299792.458 / 70
_DM = 5 * np.log10(np.maximum(_DC * (1 + _Z), 1e-9)) + 25
_DM_K = _DM - 2.5 * np.log10(1 + _Z)
"""Distance modulus with the band-width term of a flux density, fν(obs) = (1 + z) Lν(rest) / 4πd²."""


def flux(mag: float | F64) -> float | F64:
    """AB magnitude → µJy."""
    return 10 ** (0.4 * (23.9 - mag))


def redshift_at(modulus: float) -> float:
    """Redshift where an event of absolute magnitude M appears at m = M + `modulus` (rest-frame band, no further k-correction)."""
    return float(np.interp(modulus, _DM_K[1:], _Z[1:]))


def modulus(redshift: float) -> float:
    """Distance modulus m - M at a redshift; the inverse of `redshift_at`."""
    return float(np.interp(redshift, _Z, _DM_K))


def arcsec_per_kpc(redshift: float) -> float:
    """The angle of a kiloparsec across the line of sight [arcsec]."""
    distance = float(np.interp(redshift, _Z, _DC)) / (1 + redshift)  # angular diameter distance [Mpc]
    return 206.265 / max(distance, 0.01)


def black_body(wavelength: F64 | float, temperature: F64 | float) -> F64:
    """Bν of a star of constant bolometric luminosity (∝ x³/(eˣ-1)/T), up to a constant: a colder one is redder, not fainter."""
    x = np.clip(1.43877e8 / (np.asarray(wavelength) * temperature), 1e-3, 200.0)
    return x**3 / np.expm1(x) / temperature


def _ccm(wavelength: F64) -> F64:
    """A(λ)/A(V) for R_V = 3.1: Cardelli, Clayton & Mathis 1989, optical coefficients of O'Donnell 1994."""
    x = 1e4 / wavelength
    y = x - 1.82
    optical_a = np.polyval([-0.505, 1.647, -0.827, -1.718, 1.137, 0.701, -0.609, 0.104, 1.0], y)
    optical_b = np.polyval([3.347, -10.805, 5.491, 11.102, -7.985, -3.989, 2.908, 1.952, 0.0], y)
    bump = np.maximum(x - 5.9, 0.0)
    uv_a = 1.752 - 0.316 * x - 0.104 / ((x - 4.67) ** 2 + 0.341) - 0.04473 * bump**2 - 0.009779 * bump**3
    uv_b = -3.090 + 1.825 * x + 1.206 / ((x - 4.62) ** 2 + 0.263) + 0.2130 * bump**2 + 0.1207 * bump**3
    a = np.where(x < 1.1, 0.574 * x**1.61, np.where(x < 3.3, optical_a, uv_a))
    b = np.where(x < 1.1, -0.527 * x**1.61, np.where(x < 3.3, optical_b, uv_b))
    return a + b / 3.1


_EXT_GRID = np.geomspace(1000.0, 35000.0, 800)
_EXT = _ccm(_EXT_GRID)


def dimming(wavelength: F64, a_v: float) -> F64:
    """Factor by which dust of `a_v` [mag] dims a flux at `wavelength` [Å] (seen in the dust's own frame)."""
    return 10 ** (-0.4 * a_v * np.interp(wavelength, _EXT_GRID, _EXT))


# J2000 equatorial → galactic (Hipparcos, ESA SP-1200 vol. 1, 1.5.3)
_GALACTIC = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [0.4941094279, -0.4448296300, 0.7469822445],
        [-0.8676661490, -0.1980763734, 0.4559837762],
    ]
)
_OBLIQUITY = np.radians(23.4392911)


def _vector(lon: float | F64, lat: float | F64) -> F64:
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def galactic_latitude(ra: float | F64, dec: float | F64) -> F64:
    """Galactic latitude [deg] of a position in degrees."""
    sine: F64 = np.tensordot(_GALACTIC[2], _vector(ra, dec), 1)
    return np.degrees(np.arcsin(np.clip(sine, -1, 1)))


def ecliptic_latitude(ra: float | F64, dec: float | F64) -> F64:
    """Ecliptic latitude [deg] of a position in degrees."""
    v = _vector(ra, dec)
    sine: F64 = np.cos(_OBLIQUITY) * v[2] - np.sin(_OBLIQUITY) * v[1]
    return np.degrees(np.arcsin(np.clip(sine, -1, 1)))


def from_galactic(lon: float, lat: float) -> tuple[float, float]:
    """Galactic (l, b) → (ra, dec) [deg]."""
    v = _GALACTIC.T @ _vector(lon, lat)
    return float(np.degrees(np.arctan2(v[1], v[0])) % 360), float(np.degrees(np.arcsin(np.clip(v[2], -1, 1))))


def from_ecliptic(lon: float, lat: float) -> tuple[float, float]:
    """Ecliptic (λ, β) → (ra, dec) [deg]."""
    x, y, z = _vector(lon, lat)
    c, s = np.cos(_OBLIQUITY), np.sin(_OBLIQUITY)
    v = (x, c * y - s * z, s * y + c * z)
    return float(np.degrees(np.arctan2(v[1], v[0])) % 360), float(np.degrees(np.arcsin(np.clip(v[2], -1, 1))))
