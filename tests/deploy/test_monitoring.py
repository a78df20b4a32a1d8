"""Rules and dashboard ask for what is really measured, by the names it really has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram, Info
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from service.status.balance import Partition
from service.status.exposition import exposition
from streams import metrics
from streams.kafka.offset_ledger import Ledger
from tests.service.test_alarms import record
from tests.service.test_figures import Clock, answering, flowing

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "protonova.json").read_text(encoding="utf-8"))
EXPRESSIONS = {rule["alert"]: rule["expr"] for group in RULES for rule in group["rules"]} | {
    panel["title"]: " ; ".join(target["expr"] for target in panel["targets"]) for panel in DASHBOARD["panels"]
}
SUFFIXES: dict[type[MetricWrapperBase], tuple[str, ...]] = {
    Counter: ("_total",),
    Histogram: ("_bucket", "_sum", "_count"),
    Info: ("_info",),
    Gauge: ("",),
}


def worker_series() -> dict[str, set[str]]:
    """Every series of a worker with its labels."""
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            name = metric.describe()[0].name
            for suffix in SUFFIXES[type(metric)]:
                found[name + suffix] = set(metric._labelnames)
    return found


def status_series() -> dict[str, set[str]]:
    """Every series that the status service exposes once it has something to tell, with its labels."""
    clock = Clock()
    figures = flowing(clock)
    answering(figures, Partition("alerts.ztf", 0, "", 0, 96, 94, Ledger(0, 94)))
    figures.classes.update({"tde": 90})
    figures.alarm(clock(), record("adwin", "novelty", "ztf/g/sky", 0.1, 0.31))
    snapshot = figures.snapshot() | {"bad_records": [{"topic": "detections", "error_class": "bad_avro", "records": 1}]}
    text = exposition(snapshot).decode()
    return {sample.name: set(sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples}


SERIES = worker_series() | status_series()


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_metric_exists(where):
    used = set(re.findall(r"protonova_\w+", EXPRESSIONS[where]))
    assert used, f"{where} asks for nothing of ours"
    assert used <= SERIES.keys(), f"{where} asks for {sorted(used - SERIES.keys())}"


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_label_exists(where):
    expression = EXPRESSIONS[where]
    series = set(re.findall(r"protonova_\w+", expression))
    labels = set().union(*(SERIES[name] for name in series)) | {"le", "instance", "job"}
    grouped = {word.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for word in group.split(",")}
    matched = set(re.findall(r"[{,]\s*(\w+)\s*[!=]", expression))
    assert grouped | matched <= labels


def test_a_rule_says_what_to_do():
    for group in RULES:
        for rule in group["rules"]:
            assert {"summary", "action"} <= rule["annotations"].keys()
            assert rule["labels"]["severity"] in ("warning", "critical")


def test_the_dashboard_shows_what_operators_ask_for():
    titles = " ".join(panel["title"].lower() for panel in DASHBOARD["panels"])
    for word in ("outcome", "latency", "rejected by reason", "lag", "batch size", "novelty"):
        assert word in titles
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    sources = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]}
    provisioned = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    assert sources == {provisioned["datasources"][0]["uid"]}


def test_a_worker_and_the_status_service_share_no_name():
    assert not worker_series().keys() & status_series().keys()
