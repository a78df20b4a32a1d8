"""What the head says of alerts → records for subscribers.

AlertBatch, Judged, named features, ScoringState → [Detection]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import compress, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu.session import EngineError
from operators.budget import ANOMALY_BUDGET, BUDGET
from operators.decision import EVIDENCE, Decided
from operators.dips import Found
from operators.features import FEATURES
from operators.head import Judged
from operators.namespace import to_host
from operators.types import CONTEXT, F32, AlertBatch, Array
from pipeline.reference import NOWHERE, crossmatched
from pipeline.select import Selected
from schemas.records.detection import Decision, Detection, Flare, Transit
from schemas.records.parts import ClassProbability, Feature
from schemas.surveys.identity import packet_id
from schemas.taxonomy import OTHER

if TYPE_CHECKING:
    from pipeline.state import ScoringState

_CLASS, _FEATURE, _DECISION = partial(tuple.__new__, ClassProbability), partial(tuple.__new__, Feature), partial(tuple.__new__, Decision)
"""Of a tuple of their fields; some fifty are made of each alert, and by name each costs four times as much."""
_PASSED = [CONTEXT.index(name) for name in ("real_bogus", "star_galaxy", "solar_system_distance", "redshift", "flux")]
"""Of the context: what the survey itself says that a subscriber filters by, None where the packet has nothing; and the flux."""
LEAST_SIGNAL = 5.0
"""Signal to red noise from which a periodic or single dip is in the record."""
LARGEST = float(np.finfo(np.float32).max)


def assemble(
    batch: AlertBatch,
    judged: Judged,
    *,
    decided: Decided,
    named: F32,
    state: ScoringState,
    embedding: Array | None = None,
    selected: Selected | None = None,
    monitored: Sequence[bytes] | None = None,
) -> list[Detection]:
    """Turn arrays into records, one an alert, in order.

    Parameters
    ----------
    batch : AlertBatch
        n decoded alerts.
    judged : Judged
        Of the same alerts, in the state's namespace.
    decided : Decided
        Of the same alerts and namespace.
    named : (n, len(FEATURES)) float32
        NaN where a feature is not defined, infinite where it is more than 32 bits hold; such a feature is left out of the record.
    state : ScoringState
    embedding : (n, E) float, optional
        Of the same alerts, in the state's namespace; each goes with its detection as float16.
    selected : Selected, optional
        What was found in the light curves among them that were searched.
    monitored : sequence of n bytes, optional
        What telemetry sums up of each; see `pipeline.monitored`.

    Every number of a record is finite: what is missing, or more than 32 bits hold, is absent.

    Raises
    ------
    ValueError
        The alerts did not come as packets.
    gpu.session.EngineError
        A probability, the novelty or the distance is not a finite number: no packet makes it so, all inputs of the engine are finite.
    """
    if batch.own_err is None or batch.n_detected is None or batch.survey_scores is None:
        raise ValueError("only alerts that came as packets become detections")
    names = (*state.classes, OTHER)
    host = {field: np.asarray(to_host(getattr(judged, field))) for field in Judged._fields}
    for field in ("probability", "prior_probability", "novelty", "distance"):
        if not np.isfinite(host[field]).all():
            raise EngineError(f"{state.engine} gave a {field} that is not a finite number")
    order = np.argsort(-host["probability"], axis=1, kind="stable")
    # Lists of Python numbers once: picking single elements out of arrays costs ten times as much.
    ranked = np.asarray(names, dtype=object)[order].tolist()  # names, the most probable first, and so the next three
    each = np.arange(len(order))[:, None]
    probability, prior, inside = (host[field][each, order].tolist() for field in ("probability", "prior_probability", "conformal"))
    novelty, distance, nearest = host["novelty"].tolist(), host["distance"].tolist(), host["nearest"].tolist()
    passed = np.asarray(to_host(batch.context))[:, _PASSED].T.tolist()
    passed.append(np.asarray(to_host(batch.own_err)).tolist())
    passed += (np.asarray(to_host(batch.survey_scores)).T[:2]).tolist()  # drb, rb
    ra, dec, mjd, first = (np.asarray(to_host(column)).tolist() for column in (batch.ra, batch.dec, batch.mjd, batch.first_detection))
    n_detected = np.asarray(to_host(batch.n_detected)).tolist()
    features, defined = named.tolist(), np.isfinite(named).tolist()
    size, coded = 0, b""
    if embedding is not None:
        size, coded = 2 * embedding.shape[1], np.asarray(to_host(embedding)).astype("<f2").tobytes()

    decisions = _decisions(decided, state)
    reference_id = state.reference.id if state.reference.catalogues else None
    surroundings = crossmatched(state.reference.opened, batch) if state.reference.opened else repeat(NOWHERE)

    searched = {} if selected is None else selected.found
    rows = [b""] * len(batch) if monitored is None else monitored
    classes, scoring_id, model, engine = state.classes, state.scoring_id, state.model, state.engine
    encoder_id, head_id, taxonomy = state.encoder.id, state.head.id, state.taxonomy
    detections = []
    for i, near in zip(range(len(batch)), surroundings, strict=False):
        packet = packet_id(batch.survey[i], batch.candid[i], record_digest=batch.digest[i])
        own = [column[i] if math.isfinite(column[i]) else None for column in passed]
        real_bogus, star_galaxy, solar_system_distance, redshift, flux, flux_err, drb, rb = own
        detections.append(
            Detection(
                packet_id=packet,
                detection_id=f"{packet}:{scoring_id}",
                survey=batch.survey[i],
                candid=batch.candid[i],
                object_id=batch.object_id[i],
                programid=batch.programid[i],
                ra=ra[i],
                dec=dec[i],
                mjd=mjd[i],
                band=batch.band[i],
                flux=flux,
                flux_err=flux_err,
                n_detections=n_detected[i],
                first_detection=first[i] if math.isfinite(first[i]) else None,
                decision=decisions[i],
                classes=tuple(map(_CLASS, zip(ranked[i], probability[i], prior[i], strict=True))),
                top_class=ranked[i][0],
                top_probability=probability[i][0],
                conformal_set=tuple(compress(ranked[i], inside[i])),
                novelty=novelty[i],
                nearest_prototype=classes[nearest[i]],
                prototype_distance=distance[i],
                taught=state.head.lessons,
                real_bogus=real_bogus,
                rb=rb,
                drb=drb,
                star_galaxy=star_galaxy,
                solar_system_distance=solar_system_distance,
                host=near.host,
                crossmatches=near.crossmatches,
                redshift=near.redshift(redshift),
                **(_of_star(searched[i]) if i in searched else {}),
                features=tuple(map(_FEATURE, compress(zip(FEATURES, features[i], strict=True), defined[i]))),
                model=model,
                engine=engine,
                scoring_id=scoring_id,
                encoder_id=encoder_id,
                head_id=head_id,
                reference_id=reference_id,
                taxonomy=taxonomy,
                embedding=coded[i * size : (i + 1) * size],
                monitored=rows[i],
            )
        )
    return detections


def _of_star(found: Found) -> dict[str, Any]:
    """The figures of a light curve that was searched; what is not a finite number is absent."""
    transit, flares = found.figures.transit, found.figures.flares
    single = found.figures.single
    out: dict[str, Any] = {"period": found.period, "period_significance": _single(found.period_significance)}
    if transit is not None and transit.red_signal_to_noise >= LEAST_SIGNAL:
        out["transit"] = Transit(
            period=transit.period,
            epoch=transit.epoch,
            depth=_single(transit.depth) or 0.0,
            duration=_single(24 * transit.duration) or 0.0,
            signal_to_noise=_single(transit.red_signal_to_noise) or LEAST_SIGNAL,
            n_transits=transit.transits,
            odd_even=_single(transit.odd_even),
            secondary_depth=_single(transit.secondary_depth),
        )
    elif single is not None and single.significance >= LEAST_SIGNAL:
        depth, duration, significance = (_single(x) or 0.0 for x in (single.depth, 24 * single.duration, single.significance))
        out["transit"] = Transit(None, single.time, depth, duration, significance, 1)
    if flares:
        flare = max(flares, key=lambda one: one.significance)
        hours = flare.equivalent_duration / flare.amplitude / 3600
        amplitude, hours, significance = (_single(x) or 0.0 for x in (flare.amplitude, hours, flare.amplitude / found.noise))
        out["flare"] = Flare(flare.peak, amplitude, hours, significance)
    return out


def _single(value: float | None) -> float | None:
    """A number as the record's 32 bits hold it; None where it is missing or they cannot."""
    if value is None or not abs(value) < LARGEST:
        return None
    return float(np.float32(value))


def _decisions(decided: Decided, state: ScoringState) -> list[Decision]:
    """One an alert: the class, its prior probability, and what it was decided by."""
    names = (*state.classes, OTHER)
    least = [state.thresholds[name] for name in names]
    budget = (*(BUDGET,) * len(state.classes), ANOMALY_BUDGET)
    chosen = np.asarray(to_host(decided.chosen)).tolist()
    evidence = [EVIDENCE[kind] for kind in np.asarray(to_host(decided.evidence)).tolist()]
    probability, published, real = (
        np.asarray(to_host(column)).tolist() for column in (decided.prior_probability, decided.published, decided.real)
    )
    columns = ([names[j] for j in chosen], probability, [least[j] for j in chosen], [budget[j] for j in chosen], published, real, evidence)
    return list(map(_DECISION, zip(*columns, strict=True)))
