"""Every endpoint there is: the rows of all resources, those that are asked most first (routes are tried in order)."""

from __future__ import annotations

from service.api.endpoints import Endpoint
from service.api.resources import (
    about,
    accounting,
    alerce_calls,
    change_models,
    cones,
    drift_and_loop,
    explain_alerts,
    follow_up,
    issued_keys,
    lasair_calls,
    later_scores,
    live_events,
    model_facts,
    operations,
    past_alerts,
    push_alerts,
    rejected_packets,
    score_packets,
    sky_objects,
    teach_classes,
    user_filters,
    user_watchlists,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *score_packets.ROWS,
    *later_scores.ROWS,
    *explain_alerts.ROWS,
    *past_alerts.ROWS,  # before those that push: an alert's name, survey:candid, would fit a survey's place
    *push_alerts.ROWS,
    *sky_objects.ROWS,
    *follow_up.ROWS,
    *cones.ROWS,
    *accounting.ROWS,
    *rejected_packets.ROWS,
    *model_facts.ROWS,
    *change_models.ROWS,
    *teach_classes.ROWS,
    *drift_and_loop.ROWS,
    *operations.ROWS,
    *about.ROWS,
    *issued_keys.ROWS,
    *live_events.ROWS,
    *user_filters.ROWS,
    *user_watchlists.ROWS,
    *lasair_calls.ROWS,
    *alerce_calls.ROWS,
)
