"""Every endpoint there is: the rows of all resources, those that are asked most first (routes are tried in order)."""

from __future__ import annotations

from service.api.endpoints import Endpoint
from service.api.resources import (
    about,
    accounting,
    alerce_calls,
    cones,
    issued_keys,
    lasair_calls,
    model_facts,
    past_alerts,
    push_alerts,
    score_packets,
    sky_objects,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *score_packets.ROWS,
    *past_alerts.ROWS,  # before those that push: an alert's name, survey:candid, would fit a survey's place
    *push_alerts.ROWS,
    *sky_objects.ROWS,
    *cones.ROWS,
    *accounting.ROWS,
    *model_facts.ROWS,
    *about.ROWS,
    *issued_keys.ROWS,
    *lasair_calls.ROWS,
    *alerce_calls.ROWS,
)
