"""Header and data → a FITS file as bytes (FITS standard 4.0, https://fits.gsfc.nasa.gov/fits_standard.html).

Unsigned 16 bits are written as the standard has them: signed, with BZERO 32768.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from data.connectors.fits_headers import BLOCK, CARD

Card = str | int | float | bool
_PLACES = 20


def card(name: str, value: Card) -> str:
    """One card of 80 characters."""
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>{_PLACES}}"
    elif isinstance(value, int):
        text = f"{value:>{_PLACES}d}"
    elif isinstance(value, float):
        text = f"{value!r:>{_PLACES}}".replace("e", "E")
    else:
        quoted = value.replace("'", "''")
        text = f"'{quoted:<8}'"
    return f"{name:<8}= {text}".ljust(CARD)[:CARD]


def fits_file(data: npt.NDArray[np.uint16], cards: Mapping[str, Card]) -> bytes:
    """A file of one image (H, W) of unsigned 16 bits."""
    height, width = data.shape
    fixed: dict[str, Card] = {
        "SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": width, "NAXIS2": height, "BSCALE": 1, "BZERO": 32768,
    }  # fmt: skip
    header = "".join(card(name, value) for name, value in (fixed | dict(cards)).items()) + "END".ljust(CARD)
    header += " " * (-len(header) % BLOCK)
    body = (data ^ np.uint16(0x8000)).view(np.int16).astype(">i2").tobytes()
    return header.encode("ascii") + body + b"\0" * (-len(body) % BLOCK)
