"""Every namespace an operator on images must run in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.namespaces import Namespace

Moved = Callable[[Any], Any]


@pytest.fixture
def to_xp(xp: Namespace) -> Moved:
    """Brings a NumPy array to a namespace (`tests.namespaces`)."""
    return xp.asarray
