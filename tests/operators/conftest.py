"""Every namespace an operator must run in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from operators.types import AlertBatch
from tests.namespaces import Namespace

Moved = Callable[[AlertBatch], AlertBatch]


@pytest.fixture
def moved(xp: Namespace) -> Moved:
    """Brings a batch to the namespace; see `tests.namespaces`."""
    return xp.batch
