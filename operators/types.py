"""Every array shape of the pipeline on one page.

Dimensions used throughout, and in the docstrings:

    n   alerts in the batch
    T   light-curve points of an alert, padded at the end (`MAX_POINTS`)
    L   tokens the network sees (`N_TOKENS`)
    S   raw stamp side in pixels (`RAW_STAMP`)
    P   network stamp side in pixels (`STAMP`)
    C   context values (`len(CONTEXT)`)
    M   further measurements (`len(MEASURED)`)

Canonical units: difference flux [µJy, AB, signed], 1 σ errors [µJy], limits as 5 σ flux [µJy], time MJD TAI [d], wavelength [Å],
angles [deg]. Missing numbers are NaN; padding is `valid == False`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from operators.whole_curves import Curves


class Array(Protocol):
    """What the operators use of an array: that of NumPy, CuPy or another namespace of the array API standard.

    Results are of the same namespace. Functions come from the namespace itself (`operators.namespace.array_namespace`); `dtype` and
    indices differ from one to the next and are not typed.
    """

    @property
    def dtype(self) -> Any:
        """Type of the elements; each namespace has its own."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def size(self) -> Any:
        """Number of elements; the standard allows None where it is not known."""

    @property
    def T(self) -> Any:  # noqa: N802 - the standard's name
        """The transpose of a matrix."""

    def __array__(self) -> npt.NDArray[Any]: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __neg__(self) -> Any: ...
    def __invert__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __and__(self, other: Any, /) -> Any: ...
    def __or__(self, other: Any, /) -> Any: ...
    def __eq__(self, other: object, /) -> Any: ...
    def __ne__(self, other: object, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...


F32: TypeAlias = npt.NDArray[np.float32]
F64: TypeAlias = npt.NDArray[np.float64]
Survey: TypeAlias = Literal["ztf", "lsst", "tess", "frames"]
SURVEYS: tuple[Survey, ...] = ("ztf", "lsst", "tess", "frames")

MAX_POINTS = 160
"""T: the most recent points kept of one alert's history (ZTF: about 30 d of detections, limits and forced photometry)."""
N_TOKENS = 48
RAW_STAMP = 63
STAMP = 32
STAMP_SCALE = 1.0
"""Pixel scale of the stamps the network sees [arcsec/pixel] (ZTF: 1.01, taken as it is)."""
STAMP_SCALE_NEAR = 0.05
"""A survey whose pixels are this near to `STAMP_SCALE` (relative) is cropped, not resampled: ZTF's 1.01 arcsec."""

WAVELENGTH: dict[str, dict[str, float]] = {
    "ztf": {"g": 4746.5, "r": 6366.4, "i": 7829.0},
    "lsst": {"u": 3671.0, "g": 4827.0, "r": 6223.0, "i": 7546.0, "z": 8691.0, "y": 9712.0},
    "tess": {"T": 7452.6},
    "frames": {"U": 3584.8, "B": 4371.1, "V": 5477.7, "R": 6498.1, "I": 8020.1, "u": 3608.0, "g": 4671.8, "r": 6141.1, "i": 7457.9,
               "z": 8922.8, "y": 9613.6, "clear": 5822.4},
}  # fmt: skip
"""Effective wavelengths [Å] (SVO Filter Profile Service: Palomar/ZTF, LSST/LSST, TESS/TESS; of frames Generic/Bessell, SLOAN/SDSS,
PAN-STARRS/PS1 y, and Gaia's G for a CCD without a filter)."""

CONTEXT: tuple[str, ...] = (
    "real_bogus",  # the survey's own score, 0 bogus … 1 real (ZTF drb, else rb; Rubin reliability)
    "star_galaxy",  # of the nearest catalogue source, 0 galaxy … 1 star (ZTF sgscore1; Rubin 1 - extendedness)
    "source_distance",  # to that source [arcsec]
    "source_flux",  # of that source, r or nearest band [µJy]
    "reference_distance",  # to the nearest source of the reference image [arcsec] (ZTF distnr)
    "reference_flux",  # of that source in the alert's band [µJy] (ZTF magnr)
    "solar_system_distance",  # to the nearest predicted solar-system object [arcsec]; NaN: none near
    "solar_system_flux",  # its predicted flux [µJy]
    "positive",  # 1 the source brightened against the reference, 0 it faded
    "n_detections",  # the survey's count of earlier detections at this position (ZTF ndethist)
    "n_visits",  # how often the position was covered (ZTF ncovhist)
    "history",  # time since the survey's first detection here [d] (ZTF jd - jdstarthist)
    "galactic_latitude",  # absolute [deg]
    "ecliptic_latitude",  # absolute [deg]
    "fwhm",  # of the source [arcsec]
    "elongation",  # of the source's shape, ≥ 1
    "flux",  # of this alert, signed [µJy]
    "signal_to_noise",  # of this alert
    "redshift",  # photometric or spectroscopic, of the host, where the packet or a crossmatch has one
    "host_distance",  # to the centre of the host, where it is known [arcsec]
    "host_flux",  # of the host, r or nearest band [µJy]
    "host_colour",  # of the host, g - r [mag]
    "catalogue_star",  # 1 a star by its proper motion or parallax, 0 looked for and none
    "catalogue_agn",  # 1 in a catalogue of active nuclei, 0 looked for and not there
    "catalogue_variable",  # 1 in a catalogue of variable stars, 0 looked for and not there
)
"""Names of the context columns, in order. Any may be NaN."""

MEASURED: tuple[str, ...] = (
    "reference_chi",  # of a point source's fit to the nearest source of the reference image (ZTF chinr)
    "reference_sharpness",  # of that source: 0 a star, > 0 extended (ZTF sharpnr)
    "reference_error",  # of its magnitude [mag] (ZTF sigmagnr)
    "gaia_distance",  # to the nearest Gaia source [arcsec] (ZTF neargaia)
    "gaia_magnitude",  # of that source [mag] (ZTF maggaia)
    "bright_distance",  # to the nearest Gaia source brighter than 14 mag [arcsec] (ZTF neargaiabright)
    "second_distance",  # to the second nearest catalogue source [arcsec] (ZTF distpsnr2)
    "second_star_galaxy",  # of that source, 0 galaxy … 1 star (ZTF sgscore2)
    "star_likeness",  # of the detection, 0 … 1 (ZTF classtar)
    "negative_pixels",  # of the 25 around the detection (ZTF nneg)
    "bad_pixels",  # of the 25 (ZTF nbad)
    "sum_ratio",  # of the pixels' sum to the sum of their sizes, ≤ 1 (ZTF sumrat)
    "aperture_difference",  # aperture's less fitted magnitude [mag] (ZTF magdiff)
    "fit_chi",  # of a point source's fit to the detection, reduced (ZTF chipsf)
    "seeing_ratio",  # of the difference image's seeing to the science image's (ZTF seeratio)
    "axis",  # semi-major axis over fwhm (ZTF aimagerat)
    "sky",  # background under the detection [counts] (ZTF sky)
    "matched_signal",  # peak of the matched-filtered image over its noise (ZTF scorr)
    "spikes",  # of the difference image's pixels at the detection, over its noise (ZTF dsnrms)
    "spikes_in_science",  # the same of the science image (ZTF ssnrms)
    "source_g",  # of the nearest catalogue source [mag] (ZTF sgmag1)
    "source_r",
    "source_i",
    "source_z",
)
"""What the survey's pipeline and its catalogue have besides. Any may be NaN: missing, never imputed. `operators.context` says which of it
the encoder is shown."""


SURVEY_SCORES: tuple[str, ...] = (
    "drb",  # ZTF's deep-learning score
    "rb",  # ZTF's random-forest score, on another scale
    "reliability",  # Rubin's
)
"""Columns of `AlertBatch.survey_scores`: the surveys' own scores, 0 bogus … 1 real, by precedence. `CONTEXT`'s real_bogus is the first one
that a packet has."""


@dataclass(frozen=True, slots=True)
class AlertBatch:
    """n decoded alerts as columns. Identity stays on the host; the arrays share one namespace."""

    # identity, one entry an alert
    survey: tuple[Survey, ...]
    candid: tuple[int, ...]
    object_id: tuple[str, ...]
    programid: tuple[int, ...]
    """1 public (ZTF's meaning, and that of frames); other surveys: 1."""
    band: tuple[str, ...]
    """Of this alert's own measurement: a key of `WAVELENGTH[survey]`, or "" where unknown."""

    # scalars, (n,)
    ra: Array  # float64 [deg]
    dec: Array  # float64 [deg]
    mjd: Array  # float64 [d, TAI] of this alert
    first_detection: Array  # float64 [d, TAI]: the earlier of the survey's own and the packet's
    truncated: Array  # bool: the packet's points do not reach back to first_detection

    # light curve, (n, T): sorted by time, without duplicates, this alert's own measurement included
    time: Array  # float64 [d, TAI]
    wavelength: Array  # float32 [Å]
    flux: Array  # float32 [µJy]; NaN at an upper limit
    flux_err: Array  # float32 [µJy]; NaN at an upper limit
    limit: Array  # float32 [µJy], 5 σ; NaN at a measurement
    detected: Array  # bool: the survey called it a detection (a forced measurement: S/N ≥ 5)
    valid: Array  # bool: False is padding

    # images, (n, 3, S, S): science, template, difference; float32, survey's own unit; NaN outside or bad; centred
    stamps: Array
    pixel_scale: Array  # float32 (n,) [arcsec/pixel]; NaN: no stamps in the packet

    # (n, C) float32, see CONTEXT
    context: Array

    measured: Array | None = None
    """(n, M) float32, see MEASURED; None: the alerts were not packets"""

    curves: Curves | None = None
    """Whole light curves of n targets: stars that were watched without a break; those of other alerts are empty. On the host. None: all
    are. `pipeline.select` says which surveys' are searched."""

    digest: tuple[str, ...] = ()
    """Of each alert's packet, 32 hexadecimal digits (`schemas.surveys.identity`); empty: the alerts were not packets."""

    schema: tuple[int, ...] = ()
    """Of each alert's packet, the schema that it was written by: its id in a registry, or a checksum of its text; empty: not packets."""

    # what only the packet itself states, (n,); None: the alerts were not packets
    own_err: Array | None = None  # float32 [µJy] 1 σ error of this alert's own flux, NaN where the packet gives none
    n_detected: Array | None = None  # int64: detected points of the whole packet without duplicates, this alert included, beyond T too
    n_dropped: Array | None = None  # int64: points of the packet left out because their time can be none
    survey_scores: Array | None = None  # float32 (n, len(SURVEY_SCORES)); NaN where the packet has none
    own_limit: Array | None = None  # float32 [µJy], 5 σ of this alert's own exposure, NaN where the packet gives none
    zero_point: Array | None = None  # float32 [mag] of its science image: 1 µJy is 10^(0.4 (zp - 23.9)) counts; NaN where not given

    def __len__(self) -> int:
        return len(self.candid)
