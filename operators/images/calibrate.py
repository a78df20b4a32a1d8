"""Raw frame and masters → electrons, their variance and what each pixel can be used for.

raw (H, W) [ADU], masters (h, w) → science [e-], variance [e-^2], mask (h, w)

In this order: the overscan's level, row by row; bias; non-linearity; gain; dark current of the exposure; flat. Saturation is a property of
the raw value, so it is flagged before anything is subtracted, and the variance is made of electrons, so the gain comes before it. A value
that is not finite, in the frame or in a master, costs its pixel and never its neighbours: it is 0 in both planes and NO_DATA in the mask.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from operators.images.cosmic_rays import cosmic_rays as found_cosmic_rays
from operators.images.frame_quality import bleeding
from operators.images.planes import BAD, NO_DATA, NONLINEAR, SATURATED, Calibrated, Masters, RawFrame
from operators.kernels.image_calibration import calibrate_rows, overscan_levels
from operators.namespace import array_namespace
from operators.types import Array


def calibrate(raw: RawFrame, masters: Masters, *, cosmic_rays: bool = True, out: Calibrated | None = None) -> Calibrated:
    """Calibrate a raw frame, flag what saturated stars bled into, and cosmic rays.

    Parameters
    ----------
    raw : RawFrame
        Data of (H, W), integers or floats, of any namespace.
    masters : Masters
        Of the frame's detector, binning and filter, in the same namespace; (h, w) as the frame's trim has it.
    cosmic_rays : bool
        Whether they are looked for; they are flagged, not taken out.
    out : Calibrated, optional
        Planes of an earlier frame that is done with: they are filled anew. NumPy only.

    Raises
    ------
    ValueError
        Trim or overscan reach beyond the frame, or the masters have another shape.
    """
    planes = calibrated_planes(raw, masters, out=out)
    mask = planes.mask | bleeding(planes.science, planes.variance, mask=planes.mask)
    if cosmic_rays:
        found, _ = found_cosmic_rays(planes.science, mask, read_noise=_noise_without_light(raw, masters))
        mask = mask | found
    return Calibrated(planes.science, planes.variance, mask)


def calibrated_planes(raw: RawFrame, masters: Masters, *, out: Calibrated | None = None) -> Calibrated:
    """As `calibrate`, without the search for cosmic rays and for what saturated stars bled into."""
    _check(raw, masters)
    xp = array_namespace(raw.data, masters.bias, masters.dark, masters.inverse_flat, masters.bad)
    return _by_rows(raw, masters, out=out) if xp is np else calibrated_planes_array(raw, masters)


def calibrated_planes_array(raw: RawFrame, masters: Masters) -> Calibrated:
    """As `calibrated_planes` in the array standard: the oracle of the kernel, and what other namespaces run."""
    xp = array_namespace(raw.data)
    y0, y1, x0, x1 = raw.readout.trim
    gain, noise, dark_gain, saturation, linear_to, bend = figures_of(raw)
    with np.errstate(invalid="ignore", over="ignore"):  # of NumPy, and of what is built on it: such pixels are flagged below
        x = xp.astype(raw.data[y0:y1, x0:x1], xp.float32)
        above = x - _levels(raw) - masters.bias
        electrons = above * (1.0 + bend * above) * gain
        flat = masters.inverse_flat
        science = (electrons - masters.dark * dark_gain) * flat
        variance = (xp.clip(electrons, 0.0, None) + noise) * flat * flat
    there = xp.isfinite(science) & xp.isfinite(variance)
    zero = xp.zeros_like(science)
    mask = masters.bad | _bit(x >= saturation, SATURATED) | _bit(above > linear_to, NONLINEAR)
    mask = mask | _bit(~(flat > 0), BAD) | _bit(~there, NO_DATA)
    return Calibrated(xp.where(there, science, zero), xp.where(there, variance, zero), mask)


def figures_of(raw: RawFrame) -> tuple[float, ...]:
    """Gain, read noise squared, exposure times gain, saturation, end of the linear range, non-linearity; each rounded to float32."""
    r = raw.readout
    figures = (r.gain, r.read_noise**2, raw.exposure * r.gain, r.saturation, r.linear_to, r.nonlinearity)
    return tuple(float(np.float32(figure)) for figure in figures)


def _by_rows(raw: RawFrame, masters: Masters, *, out: Calibrated | None) -> Calibrated:
    y0, y1, x0, x1 = raw.readout.trim
    data: npt.NDArray[Any] = np.asarray(raw.data)
    if data.dtype not in (np.uint16, np.float32):  # what is compiled ahead; both hold what a detector's 16 bits can say
        data = data.astype(np.float32)
    data = _readable(data, data.dtype)
    levels = np.zeros(y1 - y0, np.float32)
    if raw.readout.overscan is not None:
        overscan_levels(data, y0, raw.readout.overscan[2:], levels)
    if out is None:
        shape = (y1 - y0, x1 - x0)
        out = Calibrated(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint8))
    floats = (_readable(a, np.float32) for a in (masters.bias, masters.dark, masters.inverse_flat))
    figures = tuple(np.float32(figure) for figure in figures_of(raw))
    calibrate_rows(data, (y0, x0), levels, *floats, _readable(masters.bad, np.uint8), figures, out.science, out.variance, out.mask)
    return out


def _levels(raw: RawFrame) -> Any:
    """(h, 1) medians of the finite values of the overscan's rows, NaN of none; 0 without an overscan."""
    if raw.readout.overscan is None:
        return 0.0
    xp = array_namespace(raw.data)
    y0, y1, _, _ = raw.readout.trim
    rows = xp.astype(raw.data[y0:y1, raw.readout.overscan[2] : raw.readout.overscan[3]], xp.float32)
    there = xp.isfinite(rows)
    count = xp.sum(xp.astype(there, xp.int64), axis=1, keepdims=True)
    rows = xp.sort(xp.where(there, rows, xp.full_like(rows, math.inf)), axis=1)
    lower = xp.take_along_axis(rows, xp.clip((count - 1) // 2, 0, None), axis=1)
    upper = xp.take_along_axis(rows, xp.clip(count // 2, None, rows.shape[1] - 1), axis=1)
    return xp.where(count > 0, (lower + upper) * 0.5, xp.full_like(lower, math.nan))


def _bit(where: Any, bit: int) -> Any:
    xp = array_namespace(where)
    return xp.astype(where, xp.uint8) * bit


def _readable(array: Array, dtype: Any) -> npt.NDArray[Any]:
    """Rows side by side and read-only, so that one compiled variant serves arrays that may be written and those of a mapped file."""
    view = np.ascontiguousarray(np.asarray(array), dtype=dtype).view()
    view.flags.writeable = False
    return view


def _noise_without_light(raw: RawFrame, masters: Masters) -> float:
    """Read noise and the noise of the dark current that was taken out [e-], of a typical pixel."""
    xp = array_namespace(masters.dark)
    step = max(masters.dark.shape[0] // 64, 1), max(masters.dark.shape[1] // 64, 1)
    sample = xp.reshape(masters.dark[:: step[0], :: step[1]], (-1,))
    sample = xp.sort(xp.where(xp.isfinite(sample), sample, xp.zeros_like(sample)))
    dark = max(float(sample[sample.shape[0] // 2]), 0.0) if sample.shape[0] else 0.0
    return math.sqrt(raw.readout.read_noise**2 + dark * raw.exposure * raw.readout.gain)


def _check(raw: RawFrame, masters: Masters) -> None:
    if raw.data.ndim != 2:
        raise ValueError(f"a raw frame has two axes, not {raw.data.ndim}")
    height, width = raw.data.shape
    y0, y1, x0, x1 = raw.readout.trim
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise ValueError(f"the trim {raw.readout.trim} does not lie in a frame of {height} x {width}")
    if raw.readout.overscan is not None:
        v0, v1, u0, u1 = raw.readout.overscan
        if not (0 <= v0 <= y0 and y1 <= v1 <= height and 0 <= u0 < u1 <= width):
            raise ValueError(f"the overscan {raw.readout.overscan} does not lie beside each row of the trim {raw.readout.trim}")
    for name in ("bias", "dark", "inverse_flat", "bad"):
        shape = getattr(masters, name).shape
        if tuple(shape) != (y1 - y0, x1 - x0):
            raise ValueError(f"the master's {name} is {' x '.join(map(str, shape))}, the image {y1 - y0} x {x1 - x0}")
