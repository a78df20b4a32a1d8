"""Nights of a simulated observatory: a plan → raw frames as FITS files, and what is truly in them.

`ObservingRun(Plan(seed=1))` → `.calibration()`, `.reference()`, `.science()`: each `SimulatedFrame` is a function of the plan and its own
number

Among the science frames are mishaps (`MISHAPS`): one with a satellite's trail, one whose world coordinates are broken, one of a detector
without masters, one that is saturated all over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.simulate.frames.ccd import Ccd
from data.simulate.frames.exposure_plan import EXPOSURE, WITHOUT_MASTER, Exposure, Plan
from data.simulate.frames.fits_cards import Card, fits_file
from data.simulate.frames.optics import PointSpread
from data.simulate.frames.particles import particles
from data.simulate.frames.star_field import MIX, StarField, centre_of, star_field
from data.simulate.frames.starlight_image import Pointing, add_points, add_scene
from data.simulate.observe import TAI_UTC
from operators.types import F32, F64, WAVELENGTH

Bools = npt.NDArray[np.bool_]
SCALE = 1.0
"""[arcsec/pixel]"""
ZERO_POINT: dict[str, float] = {"u": 26.6, "g": 28.1, "r": 28.2, "i": 27.9, "z": 27.3}
"""AB magnitude of 1 e- in an exposure of a clear sky."""
SKY: dict[str, float] = {"u": 90.0, "g": 350.0, "r": 600.0, "i": 800.0, "z": 900.0}
"""[e-/pixel] of a dark sky in an exposure."""
DITHER = 9.0
"""Largest offset of an exposure in each direction [pixel]."""
FLAT_LEVEL = 24_000.0
"""[e-]"""
PER_PIXEL = 4.5e-5
"""Particles a pixel and exposure: 12 in 512 × 512."""
MARGIN = 16
"""Pixels from the edge within which an object is not expected to be found."""
CORE = 2
"""An object is measurable where so many pixels around it hold no saturated pixel, cosmic ray, dead pixel or trail."""
STATIC_ERROR = 0.012
"""Of the light that stands still under an object: what registration, PSF and flux scale leave of it, as `observe` has it of ZTF."""
CATALOGUE_LIMIT, CATALOGUE_ERROR = 20.0, 0.01
"""Faintest star of the catalogue, and its magnitudes' error [mag]."""
FLOOR = 0.3
"""Light below so many electrons a pixel is left out of a source's wings."""


@dataclass(frozen=True, slots=True)
class TrueFlux:
    """One injected object in one frame."""

    frame_id: str
    detector: str
    field: str
    filter: str
    mjd: float
    object_id: str
    label: str
    """Class slug."""
    kind: str
    ra: float
    dec: float
    y: float
    """In the trimmed image [pixel]."""
    x: float
    flux: float
    """Less what the reference holds: the median of its exposures, about which its mean is clipped [µJy], signed."""
    electrons: float
    """The same in the frame [e-]."""
    snr: float
    """Expected on the difference, signed: `noise_of`."""
    measurable: bool
    """In the image, away from its edge, and on pixels that hold data."""
    hosted: bool
    surface: float
    """Surface brightness of what stands still under it, in units of the sky's."""


@dataclass(frozen=True, slots=True)
class SimulatedFrame:
    """A raw frame and what is truly in it."""

    exposure: Exposure
    detector: str
    file: bytes
    """FITS, 16 bits."""
    truth: tuple[TrueFlux, ...] = ()
    cosmic_rays: Bools | None = None
    """(h, w) pixels that particles hit."""
    saturated: Bools | None = None
    """(h, w) saturated or bled into."""

    @property
    def name(self) -> str:
        """A file's name."""
        return f"{self.exposure.frame_id}-{self.detector}.fits"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Of one exposure."""

    psf: PointSpread
    pointing: Pointing
    sky: float
    """[e-/pixel]"""
    gradient: tuple[float, float]
    """Of the sky from the middle to an edge in y and x (relative)."""
    transparency: float
    """Of the air and clouds, 1 on a clear night."""
    temperature: float
    """Of the detector [deg C]."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the truth of a frame is made of."""

    now: Conditions
    expected: F32
    still: F32
    per_ujy: float
    y: F64
    x: F64
    flux: F64
    lost: Bools


@dataclass(frozen=True)
class ObservingRun:
    """All frames of a plan; nothing is kept but the fields."""

    plan: Plan = field(default_factory=Plan)

    @cached_property
    def ccds(self) -> tuple[Ccd, ...]:
        """The detectors, the one without masters last."""
        own = self.plan.ccds()
        return (*own, replace(own[0], name=WITHOUT_MASTER, seed=19))

    @cached_property
    def star_fields(self) -> dict[tuple[int, int], StarField]:
        """(field, detector) → its sky."""
        plan, out = self.plan, {}
        times = np.unique([e.mjd for e in self.exposures() if e.kind == "science" and e.night >= 0])
        side = plan.side * SCALE
        for f, kind in enumerate(plan.fields):
            ra, dec = centre_of(kind, seed=plan.seed + f)
            for d in range(len(self.ccds)):
                beside = ra + d * 1.06 * side / 3600 / float(np.cos(np.radians(dec)))
                out[f, d] = star_field(
                    kind, seed=plan.seed, number=10 * f + d, side=side, centre=(beside % 360, dec), times=times,
                    objects=plan.objects, mix=MIX[kind],
                )  # fmt: skip
        return out

    @cached_property
    def _planned(self) -> tuple[Exposure, ...]:
        return self.plan.schedule()

    def exposures(self) -> tuple[Exposure, ...]:
        """All of the run in the order of time: calibration frames, those for references, the nights'."""
        return self._planned

    def calibration(self) -> Iterator[SimulatedFrame]:
        """Frames of bias, dark and flat."""
        return (self.frame(e) for e in self._planned if e.kind != "science")

    def reference(self) -> Iterator[SimulatedFrame]:
        """Frames of which the reference images are made."""
        return (self.frame(e) for e in self._planned if e.kind == "science" and e.night < 0)

    def science(self) -> Iterator[SimulatedFrame]:
        """The nights' frames."""
        return (self.frame(e) for e in self._planned if e.night >= 0)

    def reference_times(self, exposure: Exposure) -> F64:
        """MJD of the exposures that make the reference of a science frame."""
        what = (exposure.field, exposure.detector, exposure.filter)
        planned = (e for e in self._planned if e.kind == "science" and e.night < 0)
        return np.array([e.mjd for e in planned if (e.field, e.detector, e.filter) == what])

    def catalogue(self) -> dict[str, F64]:
        """Stars as a catalogue lists them: `ra`, `dec` [deg], and the AB magnitude in each filter."""
        rng = np.random.default_rng([4_012, self.plan.seed])
        columns: dict[str, list[F64]] = {name: [] for name in ("ra", "dec", *self.plan.filters)}
        for stars in self.star_fields.values():
            listed = ~stars.scene.galaxy & (stars.scene.mag_r < CATALOGUE_LIMIT)
            ra, dec = stars.sky(stars.scene.dx[listed], stars.scene.dy[listed])
            columns["ra"].append(ra)
            columns["dec"].append(dec)
            for band in self.plan.filters:
                true = 23.9 - 2.5 * np.log10(stars.scene.flux(wavelength_of(band))[listed])
                columns[band].append(true + rng.normal(0, CATALOGUE_ERROR, len(true)))
        return {name: np.concatenate(parts) for name, parts in columns.items()}

    def write_catalogue(self, path: Path) -> None:
        """The catalogue as CSV, a column a filter."""
        columns = self.catalogue()
        lines = [",".join(columns), *(",".join(f"{v:.7f}" for v in row) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def frame(self, exposure: Exposure) -> SimulatedFrame:
        """Take one frame."""
        ccd = self.ccds[exposure.detector]
        rng = np.random.default_rng([4_010, self.plan.seed, exposure.number])
        if exposure.kind != "science":
            return self._calibration_frame(exposure, ccd, rng=rng)
        now = _conditions(rng, exposure, plan=self.plan, ccd=ccd)
        stars = self.star_fields[exposure.field, exposure.detector]
        per_ujy = now.transparency * 10 ** (0.4 * (ZERO_POINT[exposure.filter] - 23.9)) * exposure.seconds / EXPOSURE
        wavelength = wavelength_of(exposure.filter)
        still = np.zeros(ccd.shape, np.float32)
        add_scene(still, stars.scene, pointing=now.pointing, psf=now.psf, flux=stars.scene.flux(wavelength) * per_ujy, floor=FLOOR)
        light = still.copy()
        at = np.array([o.place(exposure.mjd) for o in stars.injected]).reshape(-1, 2)
        y, x = now.pointing.pixels(at[:, 0], at[:, 1])
        flux = np.array([float(o.flux(np.array([exposure.mjd]), wavelength)[0]) for o in stars.injected])
        add_points(light, now.psf, y=y, x=x, flux=flux * per_ujy, floor=0.1 * FLOOR)
        v, w = (np.linspace(-1, 1, n, dtype=np.float32) for n in ccd.shape)
        light += now.sky * (1 + now.gradient[0] * v[:, None] + now.gradient[1] * w[None, :])
        if exposure.mishap == "trail":
            light += _trail(rng, ccd.shape, brightness=now.sky)
        if exposure.mishap == "saturated":
            light += 3 * ccd.full_well
        flat = ccd.flat(exposure.filter)
        expected = light * flat + ccd.dark(exposure.seconds, now.temperature)
        hits, struck = particles(rng, ccd.shape, number=int(rng.poisson(PER_PIXEL * still.size * exposure.seconds / EXPOSURE)))
        raw, saturated = ccd.read_out(rng, expected, added=hits)
        taken = _Taken(now, expected, still, per_ujy, y, x, flux, lost=saturated | struck | (flat < 0.5))
        truth = self._truth(exposure, taken) if exposure.mishap in ("", "trail") else ()
        cards = self._cards(exposure, ccd, temperature=now.temperature) | _world(stars, now, ccd=ccd, broken=exposure.mishap == "no_wcs")
        return SimulatedFrame(exposure, ccd.name, fits_file(raw, cards), truth, struck, saturated)

    def _truth(self, exposure: Exposure, taken: _Taken) -> tuple[TrueFlux, ...]:
        ccd, stars = self.ccds[exposure.detector], self.star_fields[exposure.field, exposure.detector]
        before, wavelength = self.reference_times(exposure), wavelength_of(exposure.filter)
        flat, out = ccd.flat(exposure.filter), []
        for k, o in enumerate(stars.injected):
            y, x = float(taken.y[k]), float(taken.x[k])
            base = float(np.median(o.flux(before, wavelength))) if len(before) else 0.0
            change = float(taken.flux[k]) - base
            ra, dec = stars.sky(*(np.array(v) for v in o.place(exposure.mjd)))
            snr, measurable, under = 0.0, False, 0.0
            if MARGIN <= y < ccd.shape[0] - MARGIN and MARGIN <= x < ccd.shape[1] - MARGIN:
                noise = noise_of(
                    taken.now.psf, taken.expected, ccd=ccd, flat=flat, y=y, x=x, references=len(before), still=taken.still,
                    star=base * taken.per_ujy,
                )  # fmt: skip
                snr = change * taken.per_ujy / noise
                j, i = round(y), round(x)
                measurable = not taken.lost[j - CORE : j + CORE + 1, i - CORE : i + CORE + 1].any()
                under = float(taken.still[j, i]) / taken.now.sky
            out.append(
                TrueFlux(
                    frame_id=exposure.frame_id,
                    detector=ccd.name,
                    field=self.plan.field_name(exposure.field),
                    filter=exposure.filter,
                    mjd=exposure.mjd,
                    object_id=o.object_id,
                    label=o.label,
                    kind=o.kind,
                    ra=float(ra),
                    dec=float(dec),
                    y=y,
                    x=x,
                    flux=change,
                    electrons=change * taken.per_ujy,
                    snr=snr,
                    measurable=measurable,
                    hosted=o.hosted,
                    surface=under,
                )
            )
        return tuple(out)

    def _calibration_frame(self, exposure: Exposure, ccd: Ccd, *, rng: np.random.Generator) -> SimulatedFrame:
        temperature = -20.0 + float(rng.normal(0, 0.05))
        expected = ccd.dark(exposure.seconds, temperature)
        if exposure.kind == "flat":
            expected = expected + np.float32(FLAT_LEVEL * rng.uniform(0.85, 1.15)) * ccd.flat(exposure.filter)
        hits, struck = particles(rng, ccd.shape, number=int(rng.poisson(PER_PIXEL * expected.size * exposure.seconds / EXPOSURE)))
        raw, saturated = ccd.read_out(rng, expected, added=hits)
        return SimulatedFrame(
            exposure, ccd.name, fits_file(raw, self._cards(exposure, ccd, temperature=temperature)), (), struck, saturated
        )

    def _cards(self, exposure: Exposure, ccd: Ccd, *, temperature: float) -> dict[str, Card]:
        begun = exposure.mjd - TAI_UTC - 0.5 * exposure.seconds / 86_400
        return {
            "TELESCOP": "Simulated 1.2 m",
            "INSTRUME": "SIMCAM",
            "OBSERVER": "protonova",
            "IMAGETYP": {"science": "OBJECT", "bias": "BIAS", "dark": "DARK", "flat": "FLAT"}[exposure.kind],
            "OBJECT": self.plan.field_name(exposure.field),
            "FRAMEID": exposure.frame_id,
            "CCDNAME": ccd.name,
            "FILTER": exposure.filter,
            "EXPTIME": float(exposure.seconds),
            "DATE-OBS": str(np.datetime64("1858-11-17") + np.timedelta64(round(begun * 86_400_000), "ms")),
            "MJD-OBS": round(begun, 8),
            "TIMESYS": "UTC",
            "GAIN": ccd.gain,
            "RDNOISE": ccd.read_noise,
            "SATURATE": ccd.saturation,
            "LINLIMIT": ccd.linear_to,
            "NONLIN": ccd.nonlinearity,
            "CCD-TEMP": round(temperature, 2),
            "CCDXBIN": 1,
            "CCDYBIN": 1,
            "TRIMSEC": ccd.section("trim"),
            "BIASSEC": ccd.section("bias"),
            "PUBLIC": True,
        }


def wavelength_of(band: str) -> float:
    """Effective wavelength of a filter [Å]."""
    return WAVELENGTH["frames"][band]


def _conditions(rng: np.random.Generator, exposure: Exposure, *, plan: Plan, ccd: Ccd) -> Conditions:
    """The weather is a night's, the guiding an exposure's."""
    night = np.random.default_rng([4_011, plan.seed, exposure.night + 1, 0 if exposure.night >= 0 else exposure.number])
    reference = exposure.night < 0
    seeing = night.uniform(1.9, 2.3) if reference else night.uniform(1.9, 3.1)
    beta, cloud, moon = night.uniform(2.6, 4.2), (0.02 if reference else night.exponential(0.12)), night.uniform(0.9, 1.6)
    psf = PointSpread(
        ccd.shape,
        fwhm=float(seeing * (0.97 if exposure.filter == "r" else 1.03) * rng.uniform(0.96, 1.04)) / SCALE,
        beta=float(beta),
        ellipticity=(float(rng.normal(0, 0.04)), float(rng.normal(0, 0.04))),
        tilt=(float(rng.normal(0, 0.02)), float(rng.normal(0, 0.02))),
    )
    middle = (ccd.shape[0] - 1) / 2 + rng.uniform(-DITHER, DITHER), (ccd.shape[1] - 1) / 2 + rng.uniform(-DITHER, DITHER)
    return Conditions(
        psf=psf,
        pointing=Pointing.of((float(middle[0]), float(middle[1])), scale=SCALE, turned=ccd.turned, angle=float(rng.normal(0, 4e-4))),
        sky=float(SKY[exposure.filter] * moon * rng.uniform(0.97, 1.03)),
        gradient=(float(rng.normal(0, 0.02)), float(rng.normal(0, 0.02))),
        transparency=float(10 ** (-0.4 * min(cloud, 0.8)) * rng.uniform(0.97, 1.0)),
        temperature=-20.0 + float(rng.normal(0, 0.1)),
    )


def _trail(rng: np.random.Generator, shape: tuple[int, int], *, brightness: float) -> F32:
    """A satellite's line of light across the whole frame, about as bright as the sky."""
    h, w = shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    angle = float(rng.uniform(0.2, 1.2))
    across = (y - h * rng.uniform(0.35, 0.65)) * np.cos(angle) - (x - w * rng.uniform(0.35, 0.65)) * np.sin(angle)
    return np.asarray(brightness * rng.uniform(0.6, 1.5) * np.exp(-0.5 * (across / 1.6) ** 2), np.float32)


def noise_of(
    psf: PointSpread,
    expected: F32,
    *,
    ccd: Ccd,
    flat: F32,
    y: float,
    x: float,
    references: int,
    still: F32 | None = None,
    star: float = 0.0,
) -> float:
    """1 σ of a point source's flux in a difference [e- before the flat].

    Photons and readout by a matched filter, with a reference of so many frames alike subtracted; and `STATIC_ERROR` of the light that
    stands still under it, `still` (h, w) and a `star` in its place [e-], which no subtraction takes out better.
    """
    stamp, y0, x0 = psf.stamp(y, x, half=MARGIN - 1)
    part = slice(y0, y0 + stamp.shape[0]), slice(x0, x0 + stamp.shape[1])
    variance = (expected[part] + ccd.read_noise**2) / np.maximum(flat[part], 0.05) ** 2
    weight = stamp / variance
    photons = (1 + 1 / max(references, 1)) / np.sum(stamp * weight)
    under = star + (0.0 if still is None else float(np.sum(still[part] * weight) / np.sum(stamp * weight)))
    return float(np.sqrt(photons + (STATIC_ERROR * under) ** 2))


def _world(stars: StarField, now: Conditions, *, ccd: Ccd, broken: bool) -> dict[str, Card]:
    """World coordinates of the raw frame: gnomonic about the field's centre."""
    y, x = now.pointing.centre
    inverse = np.linalg.inv(now.pointing.matrix) / 3600  # rows ξ, η; columns y, x
    if broken:
        inverse = np.zeros((2, 2))
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRVAL1": float(stars.ra),
        "CRVAL2": float(stars.dec),
        "CRPIX1": float(x + ccd.origin[1] + 1),
        "CRPIX2": float(y + ccd.origin[0] + 1),
        "CD1_1": float(inverse[0, 1]),
        "CD1_2": float(inverse[0, 0]),
        "CD2_1": float(inverse[1, 1]),
        "CD2_2": float(inverse[1, 0]),
        "RADESYS": "ICRS",
        "EQUINOX": 2000.0,
    }
