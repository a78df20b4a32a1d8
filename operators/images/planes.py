"""Shapes and units of images on one page.

Dimensions: (H, W) the raw frame with its overscan, (h, w) the trimmed image, k positions, (s, s) a stamp or PSF (s odd). Positions
are (y, x) in pixels of the trimmed image, 0-based, the centre of the first pixel is (0, 0). Raw values in ADU, calibrated ones in
electrons, fluxes that leave the frame in µJy. Times MJD TAI [d], at mid-exposure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from operators.types import F64, Array

FrameKind: TypeAlias = Literal["science", "bias", "dark", "flat"]

BAD = 1
"""Mask: bad pixel by the master, or one whose flat cannot be divided by."""
SATURATED = 2
"""Mask: at or above the saturation level in the raw frame, or bled into."""
COSMIC_RAY = 4
NO_DATA = 8
"""Mask: the raw value is not finite, or no pixel was there to resample from."""
NONLINEAR = 16
"""Mask: above the range in which the correction of non-linearity holds."""
TRAIL = 32
"""Mask: a satellite's or aeroplane's trail."""
UNUSABLE = BAD | SATURATED | COSMIC_RAY | NO_DATA | TRAIL
"""Mask bits of pixels that no measurement uses."""
MASK_NAMES = {BAD: "BAD", SATURATED: "SATURATED", COSMIC_RAY: "COSMIC_RAY", NO_DATA: "NO_DATA", NONLINEAR: "NONLINEAR", TRAIL: "TRAIL"}
"""Bit → its name in the header of a calibrated file."""


@dataclass(frozen=True, slots=True)
class Readout:
    """How a detector was read out."""

    gain: float
    """[e-/ADU]"""
    read_noise: float
    """[e-]"""
    saturation: float
    """[ADU], before bias"""
    trim: tuple[int, int, int, int]
    """y0, y1, x0, x1 of the image in the raw frame."""
    overscan: tuple[int, int, int, int] | None = None
    """y0, y1, x0, x1 of the overscan in the raw frame: columns beside the image, of each of its rows."""
    linear_to: float = float("inf")
    """Above it a pixel is flagged NONLINEAR [ADU above bias]."""
    nonlinearity: float = 0.0
    """c of true = measured (1 + c measured) [1/ADU above bias]."""


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A raw frame: what its file says, in one form whatever the instrument calls it."""

    data: Array
    """(H, W) integers or float32 [ADU]"""
    readout: Readout
    kind: FrameKind
    frame_id: str
    """Name of the exposure, unique with the detector."""
    detector: str
    filter: str
    """Band of `operators.types.WAVELENGTH["frames"]`; empty for bias and dark."""
    exposure: float
    """[s]"""
    mjd: float
    """Mid-exposure, TAI [d]."""
    binning: tuple[int, int] = (1, 1)
    temperature: float = float("nan")
    """Of the detector [deg C]."""
    field: str = ""
    """Name of the pointing, which leads to the reference image."""
    public: bool = True
    """False: what is made of it goes to private topics only."""
    wcs: str | None = None
    """The header's cards of the world coordinates of the trimmed image, as text; None: none, or none that can be used."""
    wcs_problem: str = ""
    """Why `wcs` is None, in one line."""


@dataclass(frozen=True, slots=True)
class Masters:
    """Masters of one detector, binning and filter, trimmed to (h, w)."""

    bias: Array
    """float32 [ADU], without its overscan level."""
    dark: Array
    """float32 [ADU/s]"""
    inverse_flat: Array
    """float32: 1 / flat, 0 where the flat cannot be used (then BAD is set in `bad`)."""
    bad: Array
    """uint8, bits of the mask."""
    ids: tuple[str, ...] = ()
    """Digests of the files it was made of."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibrated image: three planes of (h, w)."""

    science: Array
    """float32 [e-], sky not subtracted."""
    variance: Array
    """float32 [e-^2]: light, dark current and read noise through the flat."""
    mask: Array
    """uint8, bits above."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of a calibrated frame; NaN: not measured."""

    sky: float
    """Median background [e-/pixel]."""
    noise: float
    """Median noise of the background [e-/pixel]."""
    seeing: float
    """Full width at half maximum of stars [pixel]."""
    elongation: float
    """Median of stars, >= 1."""
    n_stars: int
    saturated_share: float
    cosmic_ray_share: float
    bad_share: float
    zero_point: float
    """AB: magnitude = zero_point - 2.5 log10(flux in e-)."""
    zero_point_err: float
    """[mag]"""
    limit: float
    """Flux of 5 sigma of a point source in the difference [uJy]."""
    flags: tuple[str, ...] = ()
    """What is unusual and did not cost the frame: `no_wcs`, `trail`, `few_stars`, `dark_temperature`, ..."""


@dataclass(frozen=True, slots=True)
class Stars:
    """Point sources of an image, brightest first; every column has k values."""

    y: F64
    x: F64
    flux: F64
    """In one fixed aperture [unit of the image]."""
    flux_err: F64
    fwhm: F64
    """[pixel]"""
    elongation: F64
    flags: F64
    """0: isolated, unsaturated, away from the edge."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference image of a field and filter."""

    image: Array
    """(h, w) float32, sky subtracted [e-]."""
    mask: Array
    """(h, w) uint8"""
    psf: Array
    """(s, s) float32, sum 1, centred."""
    noise: float
    """Of the background [e-/pixel]."""
    zero_point: float
    """AB magnitude of 1 e-."""
    stars: Stars
    wcs: str | None
    field: str
    filter: str
    detector: str
    id: str = ""
    """Digest of its file."""
    depth: float = 1.0
    """Exposures of which the image is the mean: the light's own variance is image / depth [e-^2]."""
    public: bool = True
    """False: made of frames that are not public, so that what is compared with it goes to private topics only."""


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus reference on the reference's pixels."""

    difference: Array
    """(h, w) float32 [e- of the new frame], noise white where the sky rules."""
    significance: Array
    """(h, w) float32: matched filter, unit variance in empty sky, divided by what bright sources and misregistration add."""
    noise: Array
    """(h, w) float32: 1 sigma of a point source's flux at each pixel [e-]."""
    mask: Array
    """(h, w) uint8: of both images."""
    psf: Array
    """(s, s) of the difference, sum 1."""
    share_err: float = 0.0
    """1 sigma of a source's own flux over its flux, by PSF and flux scale: as the field's stars scatter. Not in `noise`."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Peaks of the significance, positive and negative."""

    y: F64
    x: F64
    snr: F64
    """Signed."""
    flux: F64
    """Forced at the peak [e-], signed."""
    flux_err: F64
    shape: dict[str, F64] = field(default_factory=dict)
    """What real and bogus differ by: fwhm [pixel], elongation, `negative` (the strongest value of the other sign near over the peak),
    `masked` (share of a point's light on masked pixels), `chi2` (of the PSF's profile, a degree of freedom)."""
    reasons: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Bits of `operators.images.detect.REASON_NAMES`, 0: accepted."""

    @property
    def accepted(self) -> npt.NDArray[np.bool_]:
        """Which candidates look like a source on the sky."""
        return self.reasons == 0
