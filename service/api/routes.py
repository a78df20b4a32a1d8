"""Every endpoint there is: the rows of all resources, those that are asked most first (routes are tried in order)."""

from __future__ import annotations

from service.api.endpoints import Endpoint
from service.api.resources import about, accounting, alerce_calls, cones, lasair_calls, model_facts, past_alerts, score_packets, sky_objects

ENDPOINTS: tuple[Endpoint, ...] = (
    *score_packets.ROWS,
    *sky_objects.ROWS,
    *cones.ROWS,
    *past_alerts.ROWS,
    *accounting.ROWS,
    *model_facts.ROWS,
    *about.ROWS,
    *lasair_calls.ROWS,
    *alerce_calls.ROWS,
)
