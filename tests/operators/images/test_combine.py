"""Combined frames: every namespace the same values, ccdproc's where nothing is clipped, the mean that was there."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from operators.images.combine import combine, combine_array, masters_of
from operators.images.planes import BAD, NO_DATA
from tests.operators.images.detectors import to_numpy


def _frames(n: int, *, seed: int = 0, shape: tuple[int, int] = (40, 50)):
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 1.5, shape)
    return level, [(level + rng.normal(0, 0.02, shape) * np.sqrt(level)).astype(np.float32) for _ in range(n)]


@pytest.mark.parametrize("kind", ["bias", "flat"])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_every_namespace_gives_what_the_array_version_gives(to_xp, kind, n):
    _, frames = _frames(n)
    frames[0][3, 4], frames[n - 1][3, 4], frames[0][5, 5] = np.nan, np.inf, 40.0
    for frame in frames:
        frame[7, 7] = np.nan
    expected = combine_array(frames, light=kind == "flat", clip=3.0)
    got = combine([to_xp(frame) for frame in frames], kind=kind)
    for values, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(to_numpy(values), right, rtol=1e-6)
    assert np.isnan(expected[0][7, 7])


def test_what_struck_one_frame_is_left_out_and_counted():
    level, frames = _frames(9)
    frames[2][10, 10:20] += 5
    frames[4][:, :] += 1.0
    mean, variance, left_out = combine(frames, kind="flat")
    assert left_out[4] == level.size, "a frame on another level"
    assert 10 <= left_out[2] < 60
    assert max(left_out[k] for k in (0, 1, 3, 5, 6, 7, 8)) < 0.02 * level.size
    pull = (mean - level) / np.sqrt(0.02**2 * level / 8)
    assert abs(pull.mean()) < 0.1
    assert pull.std() == pytest.approx(1.0, abs=0.06)
    assert np.median(variance / (0.02**2 * level / 8)) == pytest.approx(0.9, abs=0.15)


def test_three_frames_do_not_clip_each_other():
    _, frames = _frames(3, seed=4)
    frames[1][0, 0] += 3
    mean, _, left_out = combine(frames, kind="flat")
    assert sum(left_out) < 0.02 * 3 * frames[0].size
    assert mean[0, 0] == pytest.approx((frames[0][0, 0] + frames[2][0, 0]) / 2, rel=1e-6)


def test_ccdproc_gives_the_same_mean_of_what_is_not_clipped():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ccdproc
        from astropy.nddata import CCDData

        _, frames = _frames(6, seed=2)
        theirs = ccdproc.combine([CCDData(frame, unit="adu") for frame in frames], method="average")
        others = ccdproc.combine([CCDData(frame, unit="adu") for frame in frames[:3] + frames[4:]], method="average")
    np.testing.assert_allclose(combine(frames, kind="bias", clip=1e3)[0], np.asarray(theirs.data), rtol=1e-6)
    frames[3][20, 20] += 9
    assert combine(frames, kind="bias")[0][20, 20] == pytest.approx(float(others.data[20, 20]), rel=1e-6)


@pytest.mark.parametrize(
    ("frames", "says"),
    [([], "nothing"), ([np.zeros((3, 3)), np.zeros((3, 4))], "one shape"), ([np.zeros(3)], "two axes")],
)
def test_what_cannot_be_combined_is_refused_in_a_line(frames, says):
    with pytest.raises(ValueError, match=says):
        combine(frames, kind="bias")


def test_masters_never_hold_what_would_spoil_a_frame(to_xp):
    bias, dark, flat = (np.full((6, 6), value, np.float32) for value in (1.0, 0.1, 1.0))
    bias[0, 0], dark[1, 1], flat[2, 2], flat[3, 3], flat[4, 4] = np.nan, np.inf, 0.0, np.nan, -1.0
    bad = np.zeros((6, 6), np.uint8)
    bad[5, 5] = NO_DATA
    got = masters_of(bias=to_xp(bias), dark=to_xp(dark), flat=to_xp(flat), bad=to_xp(bad), ids=("x",))
    for name in ("bias", "dark", "inverse_flat"):
        assert np.isfinite(to_numpy(getattr(got, name))).all()
    mask = to_numpy(got.bad)
    np.testing.assert_array_equal(np.diag(mask), [BAD, BAD, BAD, BAD, BAD, NO_DATA])
    assert mask.sum() == 5 * BAD + NO_DATA
    assert to_numpy(got.inverse_flat)[2, 2] == 0
