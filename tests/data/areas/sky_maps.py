"""A simulated sky map of a gravitational-wave event, as GCN distributes them: multi-order FITS."""

from __future__ import annotations

import io

import healpix
import numpy as np
from astropy.io import fits

from data.history.cells import separation


def gaussian_map(ra: float, dec: float, *, sigma: float) -> bytes:
    """A round normal distribution [deg], cells of order 7 within five sigma and of order 3 outside."""
    coarse = np.arange(12 << 6)
    away = _away(coarse, 3, ra=ra, dec=dec)
    inner = coarse[away < 5 * sigma + 10]
    fine = (inner[:, None] * 4**4 + np.arange(4**4)).ravel()
    outer = np.setdiff1d(coarse, inner)
    uniq = np.concatenate([4**8 + fine, 4**4 + outer]).astype(np.int64)
    density = np.exp(-0.5 * (np.concatenate([_away(fine, 7, ra=ra, dec=dec), _away(outer, 3, ra=ra, dec=dec)]) / sigma) ** 2)
    area = np.concatenate([np.full(len(fine), np.pi / 3 / 4**7), np.full(len(outer), np.pi / 3 / 4**3)])
    columns = [fits.Column("UNIQ", "K", array=uniq), fits.Column("PROBDENSITY", "D", unit="sr-1", array=density / (density * area).sum())]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["PIXTYPE"], table.header["ORDERING"], table.header["COORDSYS"], table.header["INDXSCHM"] = (
        "HEALPIX",
        "NUNIQ",
        "C",
        "EXPLICIT",
    )
    table.header["MOCORDER"], table.header["MOCVERS"] = 7, "2.0"
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(out)
    return out.getvalue()


def _away(cells: np.ndarray, order: int, *, ra: float, dec: float) -> np.ndarray:  # type: ignore[type-arg]
    lon, lat = healpix.pix2ang(1 << order, cells, nest=True, lonlat=True)
    return separation(ra, dec, ras=lon, decs=lat) / 3600
