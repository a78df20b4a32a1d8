"""Every endpoint there is: the rows of all resources, those that are asked most first (routes are tried in order)."""

from __future__ import annotations

from service.api.endpoints import Endpoint
from service.api.resources import about, score_packets

ENDPOINTS: tuple[Endpoint, ...] = (*score_packets.ROWS, *about.ROWS)
