"""What is wrong with an area or a list of positions."""

from __future__ import annotations

from errors import UserError


class AreaError(UserError):
    """An area or a list that cannot be used; the message says why."""
