"""The loops of raw frames are compiled when asked for, and then no frame has to wait for a compiler."""

from __future__ import annotations

import pytest

from tools import compile_kernels, frame_loops


def test_those_of_frames_are_a_job_of_their_own() -> None:
    assert not {job.__module__ for job in compile_kernels.JOBS[""]} & {frame_loops.__name__}
    assert {job.__module__ for job in compile_kernels.JOBS["frames"]} == {frame_loops.__name__}
    with pytest.raises(SystemExit):
        compile_kernels.main(["everything"])


def test_calibration_compiles_every_loop_that_a_frame_needs() -> None:
    from operators.images.calibrate import calibrate
    from operators.images.planes import RawFrame, Readout
    from operators.kernels import clipped_mean, image_calibration, laplacian
    from tests.operators.images.detectors import frame, masters

    frame_loops.calibration()
    loops = {
        loop: len(loop.signatures)
        for module in (image_calibration, laplacian, clipped_mean)
        for loop in vars(module).values()
        if hasattr(loop, "signatures")
    }
    its = masters(80, 90)
    for dtype in ("u2", "f4", ">i2", "i4"):
        calibrate(frame(frame_loops.scene(seed=1, transient=True)[:80, :90], its, dtype=dtype), its)
    bare = Readout(1.0, 5.0, 60_000.0, (0, 80, 0, 90))
    calibrate(RawFrame(its.bias, bare, "science", "f", "d", "r", 1.0, 60_000.0), its)
    assert {loop: len(loop.signatures) for loop in loops} == loops
