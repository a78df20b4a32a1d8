"""A snapshot of the figures → Prometheus' text exposition. What the workers measure themselves is theirs to expose (`streams.metrics`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.status.balance import PARTS, WORST


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
        classes = CounterMetricFamily("protonova_stream_classes", "Detections by the class of their decision", labels=["class"])
        for name, count in s["classes"].items():
            classes.add_metric([name], count)
        yield classes
        published = CounterMetricFamily("protonova_stream_published", "Those that reached the class's threshold", labels=["class"])
        for name, count in s["published"].items():
            published.add_metric([name], count)
        yield published
        yield from self._balance()
        raised = GaugeMetricFamily("protonova_alarms_active", "Alarms that ask for a person now", labels=["severity"])
        for severity in ("bad", "warn"):
            raised.add_metric([severity], sum(alarm["severity"] == severity for alarm in s["active_alarms"]))
        yield raised
        alarm = GaugeMetricFamily("protonova_alarm_raised_seconds", "When an alarm was raised last, since 1970", labels=["alarm", "of"])
        newest: dict[tuple[str, str], float] = {}
        for record in s["alarms"]:
            key = (str(record["statistic"]), str(record["stratum"]))
            newest[key] = max(newest.get(key, 0.0), record["raised_ms"] / 1000)
        for labels, at in newest.items():
            alarm.add_metric(list(labels), at)
        yield alarm
        yield GaugeMetricFamily("protonova_workers_alive", "Workers heard lately", value=s["workers_alive"])
        yield GaugeMetricFamily("protonova_status_connected", "1: the broker answers the status service", value=s["state"] != "down")
        info = GaugeMetricFamily("protonova_scoring_info", "Which model scores", labels=["model", "scoring_id", "engine"])
        info.add_metric([s["model"], s["scoring_id"], s["engine"]], 1)
        yield info

    def _balance(self) -> Iterable[Metric]:
        """What the broker has of each input topic, and what became of it; from where the group's ledgers begin."""
        b = self.snapshot["balance"]
        packets = GaugeMetricFamily("protonova_balance_packets", "Packets of an input topic by outcome", labels=["topic", "part"])
        for row in b["topics"]:
            for part in PARTS:
                packets.add_metric([row["topic"], part], row[part])
        yield packets
        state = GaugeMetricFamily("protonova_balance", "1 at the state that the balance of an input topic is in", labels=["topic", "state"])
        for row in b["topics"]:
            for name in WORST:
                state.add_metric([row["topic"], name], row["state"] == name)
        yield state


def exposition(snapshot: dict[str, Any]) -> bytes:
    """The figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry)
