"""What `protonova doctor` says of GPUs: whose each is, what is missing, which engine the next worker gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.commands import doctor
from gpu.owner import VISIBLE, own, release
from settings.model import Settings


def test_whose_a_gpu_is_and_how_many_workers_it_leaves_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    settings = Settings(state=tmp_path, workers=3)
    found = {one.what: one for one in doctor.graphics(settings)}
    assert found["GPU 0"].found.startswith("free")
    assert (found["workers"].level, found["workers"].todo) == ("warn", "set PROTONOVA_WORKERS=1 where the GPU is to do it all")
    assert "2 of them stay on the CPU" in found["workers"].found
    try:
        own(tmp_path)
        found = {one.what: one for one in doctor.graphics(Settings(state=tmp_path, workers=1))}
        assert "others stay on the CPU" in found["GPU 0"].found
        assert "workers" not in found
        said = {one.what: one.found for one in doctor.engine(Settings(state=tmp_path))}
        assert said["engine"].endswith("onnxruntime on the CPU, for each GPU is another process's")
        assert said["batches"].startswith("of 64 packets")
    finally:
        release()


def test_without_a_gpu_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "")
    (one,) = doctor.graphics(Settings(state=tmp_path))
    assert (one.level, one.found) == ("ok", "none: the network runs on the processor")
