"""Requests that were answered → Prometheus' text: by endpoint and status, with their durations.

Of several processes on one port each scrape reaches another one: their parent names a folder in `SHARED`, in which all of them count, and
whichever is asked answers for all (prometheus_client's multi-process mode).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder in which several processes count; read by prometheus_client when it is imported."""
MEDIA_TYPE = CONTENT_TYPE_LATEST
PREFIX = "protonova_api_"
NO_ENDPOINT = "none"
"""Operation of a request whose path is not one of ours."""
_registry = CollectorRegistry()

# Requests by what became of them; 499: the client went away.
REQUESTS = Counter(f"{PREFIX}requests", "Requests by endpoint and status", ["operation", "method", "status"], registry=_registry)
# From the head of the request to the answer's last byte given to the system.
SECONDS = Histogram(
    f"{PREFIX}request_seconds",
    "From a request's head to the end of its answer",
    ["operation"],
    registry=_registry,
    buckets=(0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 10, 60),
)
# Whether the limits of several machines count together; 0 while their server is away.
LIMITS_SHARED = Gauge(
    f"{PREFIX}limits_shared",
    "1: rate limits are those of all machines; 0: each process has its own share",
    registry=_registry,
    multiprocess_mode="livemin",
)
ProcessCollector(registry=_registry)

_counters: dict[tuple[str, str, int], Counter] = {}
_histograms: dict[str, Histogram] = {}


def count(operation: str, method: str, *, status: int, seconds: float) -> None:
    """Count a request that was answered.

    Parameters
    ----------
    operation : str
        The row's name; `NO_ENDPOINT`: there is none.
    method : str
        Of the row, or of `NO_ENDPOINT` as it was asked: known ones alone, so that a caller cannot make labels.
    status : int
    seconds : float
        It took [s].
    """
    key = operation, method, status
    counter = _counters.get(key)
    if counter is None:
        counter = _counters[key] = REQUESTS.labels(operation, method, str(status))
    counter.inc()
    histogram = _histograms.get(operation)
    if histogram is None:
        histogram = _histograms[operation] = SECONDS.labels(operation)
    histogram.observe(seconds)


class _Ours(Collector):
    """What all processes of the folder counted of requests; other metrics of theirs stay out."""

    def __init__(self, folder: str) -> None:
        self._all = MultiProcessCollector(CollectorRegistry(), path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        found: Iterable[Metric] = self._all.collect()  # type: ignore[no-untyped-call]
        return (metric for metric in found if metric.name.startswith(PREFIX))


def exposition() -> bytes:
    """The metrics in Prometheus' text format."""
    folder = os.environ.get(SHARED)
    if folder is None:
        return generate_latest(_registry)
    registry = CollectorRegistry()
    registry.register(_Ours(folder))
    return generate_latest(registry)
