"""What is published of an alert: one class, decided under the stream's prior.

`Judged`, the survey's real/bogus scores (n, 3), `Rule` → `Decided`

An alert is published as the class whose prior probability (`Judged.prior_probability`) reaches its threshold; where several do, as the one
that exceeds its own by the largest factor, so that a rare class is not lost behind a frequent one. A threshold is made for an alert budget
(`operators.budget`), and one class an alert only lowers what a topic carries. Where none reaches it, the most probable class leads and the
alert is on no class's topic.

A rare class (less than `RARE` of the stream) and `other` need evidence that a source on the sky caused the alert: the survey's own score
where the packet has one, each against its own published threshold, for they have different scales; else the network's. `other` is published
where the novelty reaches its threshold and the alert is real, and leads nowhere else: below it a known class is as likely, and of simulated
supernovae of type Ia with five detections every fifth was named `other` by its share of the stream alone. Without evidence neither leads.
Of a star that was watched without a break no survey says whether its dips are real, and three quarters of the stated mix are quiet: there
the thresholds, made for their budgets among quiet stars and instruments' dips, are all the evidence that a class needs.

Row by row: an alert's decision does not depend on the batch it comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from operators.budget import ANOMALY_BUDGET, least_probability, night
from operators.head import Bools, Head, Judged, whole_prior, whole_thresholds
from operators.kernels.decision import decide_rows
from operators.namespace import array_namespace
from operators.types import SURVEY_SCORES, Array

DECISION_RULES = "4"
"""Of the code and the constants here: raised when the same head decides otherwise. It is in the head's id, hence in `scoring_id`."""
BOGUS = "bogus"
RARE = 0.002
"""Share of the stream below which a class needs evidence of being real: all supernovae but the two frequent types, flares, lenses and
what is rarer still. At 0.01 three type Ia of old packets, whose `rb` is 0.43 to 0.60, were named bogus, of which one was 0.02 probable."""
LEAST_SCORE: dict[str, float] = {"drb": 0.8, "rb": 0.65, "reliability": 0.5}
"""Survey's score from which an alert counts as real, by precedence. ZTF: drb after Duev et al. 2019 (MNRAS 489, 3582), rb after Mahabal et
al. 2019 (PASP 131, 038002), as ZTF's alert documentation recommends them. Rubin states no threshold of its reliability yet: even odds."""
MOST_BOGUS = 0.5
"""Prior probability of `bogus` from which the network's own evidence says that an alert is not real."""
NETWORK = "network"
EVIDENCE: tuple[str, ...] = (*SURVEY_SCORES, NETWORK)
"""What said whether an alert is real, in the order of `Decided.evidence`."""
LEAST_NOVELTY, MOST_NOVELTY = 0.5, 0.9
"""Between these lies the threshold of novelty, whatever the budget: below it a known class is as likely, above it nothing would be left."""
TINY = 1e-30
"""Added to both sides of a ratio, whose threshold may be 0."""
NEVER = 2.0
"""A threshold that no novelty and no probability reaches."""


class Rule(NamedTuple):
    """What a decision needs of a head with k classes, taught ones among them; arrays of one namespace."""

    thresholds: Array  # (k,) of the prior probability
    rare: Array  # (k,) bool: needs evidence of being real
    novelty_threshold: Array  # ()
    least_score: Array  # (s,) of `SURVEY_SCORES`
    bogus: int | None
    """Column of `bogus`; None: the head has no such class, and nothing but a survey's score says that an alert is not real."""


class Decided(NamedTuple):
    """What is decided of n alerts."""

    chosen: Array  # (n,) int: column of the classes, `other` last
    prior_probability: Array  # (n,) of that class
    published: Array  # (n,) bool: its threshold is reached
    real: Array  # (n,) bool
    evidence: Array  # (n,) int: which of `EVIDENCE` says so


def rule_of(head: Head, classes: Sequence[str]) -> Rule:
    """The rule of a head.

    Parameters
    ----------
    head : Head
    classes : k slugs
        Known, then taught; `other` not among them.
    """
    xp: Any = array_namespace(head.prior)
    return Rule(
        thresholds=whole_thresholds(head),
        rare=whole_prior(head)[:-1] < RARE,
        novelty_threshold=head.novelty_threshold,
        least_score=xp.asarray(np.array([LEAST_SCORE[name] for name in SURVEY_SCORES], dtype=np.float32)),
        bogus=classes.index(BOGUS) if BOGUS in classes else None,
    )


def decide(judged: Judged, survey_scores: Array, *, rule: Rule, star: Bools | None = None) -> Decided:
    """Decide what each alert is published as.

    Parameters
    ----------
    judged : Judged
        Of n alerts.
    survey_scores : (n, s) float
        `operators.types.SURVEY_SCORES` of the same alerts and namespace; NaN where the packet has none.
    rule : Rule
    star : (n,) bool, optional
        On the host: which are stars that were watched without a break; None: none.
    """
    if star is None:
        star = np.zeros(judged.novelty.shape[0], dtype=np.bool_)
    columns = (judged.prior_probability, judged.novelty, survey_scores, rule.thresholds)
    if array_namespace(*columns) is np and all(column.dtype == np.float32 for column in columns):
        return Decided(*decide_rows(judged, survey_scores, star, rule=rule, most_bogus=MOST_BOGUS, tiny=TINY))
    return decide_array(judged, survey_scores, rule=rule, star=star)


def decide_array(judged: Judged, survey_scores: Array, *, rule: Rule, star: Bools) -> Decided:
    """`decide` in any namespace, array by array: the oracle of its kernel."""
    xp: Any = array_namespace(judged.prior_probability)
    prior = judged.prior_probability
    known, k = prior[:, :-1], prior.shape[1] - 1
    real, evidence = _reality(prior, survey_scores, rule=rule)
    nothing = xp.asarray(0.0, dtype=prior.dtype)
    allowed = (real | xp.asarray(star))[:, None] | ~rule.rare[None, :]
    reached = allowed & (known >= rule.thresholds)
    factor = xp.where(reached, (known + TINY) / (rule.thresholds + TINY), nothing)
    leading = xp.where(allowed, known, nothing)
    best, first = xp.argmax(factor, axis=1), xp.argmax(leading, axis=1)
    passed, new = xp.any(reached, axis=1), real & (judged.novelty >= rule.novelty_threshold)
    unknown = new | (~passed & ~xp.any(allowed, axis=1))
    chosen = xp.where(unknown, xp.asarray(k, dtype=best.dtype), xp.where(passed, best, first))
    one = xp.arange(k + 1, dtype=chosen.dtype)[None, :] == chosen[:, None]
    return Decided(chosen, xp.sum(xp.where(one, prior, nothing), axis=1), passed | new, real, evidence)


def _reality(prior: Array, survey_scores: Array, *, rule: Rule) -> tuple[Array, Array]:
    """Whether each alert is real, and what says so; (n,) bool, (n,) int."""
    xp: Any = array_namespace(prior)
    n, s = survey_scores.shape
    real = xp.ones(n, dtype=xp.bool) if rule.bogus is None else prior[:, rule.bogus] < MOST_BOGUS
    evidence = xp.full(n, s, dtype=xp.int64)
    enough, there = survey_scores >= rule.least_score, survey_scores == survey_scores
    for column in reversed(range(s)):  # the first one that is there decides
        real = xp.where(there[:, column], enough[:, column], real)
        evidence = xp.where(there[:, column], xp.asarray(column, dtype=evidence.dtype), evidence)
    return real, evidence


def novelty_threshold(judged: Judged, label: Array, *, prior: Array, bogus: int | None, alerts_a_night: float) -> float:
    """Least novelty of the topic of anomalies: as low as its budget of known alerts allows.

    Simulated alerts have no survey's scores here, so the network's evidence alone says which of them are real: more artefacts pass than do
    on a stream whose packets have scores.

    Parameters
    ----------
    judged : Judged
        Of n known alerts that neither prototypes nor weights were made of, on the host.
    label : (n,) int
        Their classes.
    prior : (k + 1,)
        The stated mix, `other` last.
    bogus : int or None
        Column of `bogus`.
    alerts_a_night : float
        Of the stream [1/night].
    """
    prior_probability = np.asarray(judged.prior_probability)
    real = np.ones(len(prior_probability), dtype=bool) if bogus is None else prior_probability[:, bogus] < MOST_BOGUS
    stands_for = night(np.asarray(label, dtype=np.int64), np.asarray(prior[:-1], dtype=np.float64), alerts_a_night=alerts_a_night)
    novelty = np.where(real, np.asarray(judged.novelty), 0.0)
    return least_probability(novelty, stands_for, budget=ANOMALY_BUDGET, floor=LEAST_NOVELTY, ceiling=MOST_NOVELTY)
