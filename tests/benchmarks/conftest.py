"""Real ZTF packets where there are some, else simulated ones, and both stacks with the bundle that ships."""

from __future__ import annotations

import pytest

from benchmarks.packets import Packets, take
from pipeline.state import ScoringState
from pipeline.state import load as load_state
from registry.bundle import Bundle
from registry.bundle import load as load_bundle


@pytest.fixture(scope="session")
def packets() -> Packets:
    return take(48)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="session")
def state() -> ScoringState:
    return load_state(engine="onnxruntime")
