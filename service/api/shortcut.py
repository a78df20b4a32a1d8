"""Paths that are known to the letter → their resources, past the layers of a router, which cost a request a tenth of a millisecond.

rows' paths → `exact_paths` → `Shortcut`
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.dispatch import Resource
from service.api.endpoints import Endpoint

Exact = tuple[str, tuple[tuple[str, str], ...]]
"""A path, and the names and texts of its parameters."""


class Shortcut:
    """Answers what it knows; everything else goes on.

    Parameters
    ----------
    app : ASGI application
        For every other path.
    fixed : mapping
        Path → the resource, and what its parameters are then.
    """

    def __init__(self, app: ASGIApp, fixed: Mapping[Exact, Resource]) -> None:
        self.app = app
        self._fixed = {path: (resource, dict(parameters)) for (path, parameters), resource in fixed.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        found = self._fixed.get(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        resource, parameters = found
        scope["path_params"] = parameters
        await resource(scope, receive, send)


def exact_paths(path: str, row: Endpoint) -> Iterable[Exact]:
    """The paths of a row that has no parameter, or a single one of few words."""
    if "{" not in path:
        yield path, ()
        return
    names = re.findall(r"{(\w+)}", path)
    info = row.parameters.model_fields.get(names[0]) if row.parameters is not None and len(names) == 1 else None
    if info is not None and typing.get_origin(info.annotation) is typing.Literal:
        for word in typing.get_args(info.annotation):
            yield path.replace(f"{{{names[0]}}}", word), ((names[0], word),)
