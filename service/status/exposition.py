"""A snapshot of the figures → Prometheus' text exposition. What the workers measure themselves is theirs to expose (`streams.metrics`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class _Snapshot(Collector):
    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        s = self.snapshot
        packets = CounterMetricFamily("protonova_stream_packets", "Packets by outcome since the status service listens", labels=["outcome"])
        for outcome, count in s["totals"].items():
            packets.add_metric([outcome], count)
        yield packets
        reasons = CounterMetricFamily("protonova_stream_rejected", "Rejected packets by error class", labels=["error_class"])
        for reason, count in s["rejected"].items():
            reasons.add_metric([reason], count)
        yield reasons
        bad = CounterMetricFamily(
            "protonova_stream_bad_records",
            "Messages of our topics that are not record of ours",
            labels=["topic", "error_class"],
        )
        for row in s["bad_records"]:
            bad.add_metric([row["topic"], row["error_class"]], row["records"])
        yield bad
        lag = GaugeMetricFamily(
            "protonova_stream_lag_packets", "Packets not yet acknowledged by the workers", labels=["topic", "partition"]
        )
        for row in s["lag"]:
            lag.add_metric([row["topic"], str(row["partition"])], row["lag"])
        yield lag
        latency = GaugeMetricFamily(
            "protonova_stream_latency_seconds",
            "From the input's append time to the detection's, over the last seconds",
            labels=["quantile"],
        )
        for name, quantile in (("p50", "0.5"), ("p90", "0.9"), ("p99", "0.99")):
            if s["latency_ms"][name] is not None:
                latency.add_metric([quantile], s["latency_ms"][name] / 1000)
        yield latency
        yield GaugeMetricFamily("protonova_workers_alive", "Workers heard lately", value=s["workers_alive"])
        yield GaugeMetricFamily("protonova_status_connected", "1: the status service reads from the broker", value=s["state"] != "down")
        info = GaugeMetricFamily("protonova_scoring_info", "Which model scores", labels=["model", "scoring_id", "engine"])
        info.add_metric([s["model"], s["scoring_id"], s["engine"]], 1)
        yield info


def exposition(snapshot: dict[str, Any]) -> bytes:
    """The figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry)
