"""What the command writes has its keys; nothing here is timed."""

from __future__ import annotations

import io
import json

import fastavro
import pytest
from rich.console import Console

from benchmarks import histories, run
from benchmarks.packets import distinct, take
from benchmarks.stages import MANY, WHOLE, measure
from schemas.surveys.decode import Decoder

pytest.importorskip("torch")


def test_stages_have_both_stacks(packets, bundle, state):
    few = type(packets)(packets.values[:5], packets.source, packets.real)
    rows = {row.stage: row.figures() for row in measure(few, bundle, state=state, repeats=1)}
    assert {"stage", "naive_us", "ours_us", "ratio", "note"} == set(rows[WHOLE])
    both = {"decode: Avro", "cut-outs: inflate, FITS", "stamps", "tokens", "context", "features", "network", "head", "record out", WHOLE}
    assert both <= rows.keys()
    assert rows[MANY]["ours_us"] > 0
    for name in both:
        assert rows[name]["naive_us"] > 0
        assert rows[name]["ours_us"] > 0


def test_every_copy_of_a_packet_is_an_alert_of_its_own(packets):
    copies = distinct(packets.values, 100, start=7)
    assert len({candid for candid, _ in copies}) == len(set(copies)) == 100
    for i, (candid, packet) in enumerate(copies):
        (record,) = fastavro.reader(io.BytesIO(packet))
        assert record["candidate"]["candid"] == candid
        assert record.get("candid") in (candid, None)
        assert len(packet) in {len(p) for p in packets.values}, i
    assert not set(copies) & set(distinct(packets.values, 100, start=107))


def test_simulated_packets_stand_in_and_say_so(tmp_path):
    packets = take(3, tmp_path)
    assert not packets.real
    assert "simulated" in packets.source
    assert len(packets.values) == 3


def test_targets_are_judged():
    ours = {"cpu_us": 1000.0, "paced": {"rate": 200.0, "p99_ms": 101.0}, "quiet": {"quiet_s": 60.0, "worst_ms": None},
            "cores_busy": 0.97, "pair": {"over_one": 1.2, "possible": 1.6}}  # fmt: skip
    rows = run.judge({"stages": [{"stage": MANY, "ours_us": 2.5}], "broker": {"naive": {"cpu_us": 9400.0}, "ours": ours}})
    assert [row["passed"] for row in rows] == [True, True, True, False, False, True, False]
    unmeasured = run.judge({"broker": {"naive": {"cpu_us": 9400.0}, "ours": ours | {"pair": None}}})
    assert [row["reached"] for row in unmeasured if row["target"].startswith("two workers")] == [None]
    assert run.judge({}) == []


def test_histories_are_made_longer_and_judged(capfd):
    packets = take(8)
    made = histories.lengthened(packets.values, 200)
    assert made
    batch = Decoder().decode(made).batch
    assert len(batch) == len(made)
    assert (batch.valid.sum(axis=1) > 100).all()
    rows = [{"points": n, "bytes": 1.0, "new": {"whole_us": 1000.0, "decode_us": 0.05 * n, "fold_us": 40.0, "scored": 1.0},
             "old": {"whole_us": 2000.0, "decode_us": 0.2 * n, "fold_us": 100.0, "scored": 1.0}} for n in histories.POINTS]  # fmt: skip
    report = {"rows": rows, "per_point_us": {"new": 0.11, "old": 0.22}, "against": "older"}
    assert [row["passed"] for row in run.judge({"histories": report})] == [False, True, False, True, True]
    Console().print(run.history_table(report))
    assert "0.50 ×" in capfd.readouterr().out


@pytest.mark.slow
def test_a_report_is_written_where_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "QUICK_PACKETS", 4)
    assert run.main(["--quick", "--only", "stages", "--report", str(tmp_path / "r.json"), "--name", "test"]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert {
        "command", "date", "commit", "quick", "machine", "source", "real", "packets", "detections", "duplicates", "skipped", "rejected",
        "engine", "model", "scoring_id", "stages", "targets",
    } <= report.keys()  # fmt: skip
    assert {"cpu", "cores", "memory_gib", "python", "libraries", "load_average_before", "stolen_share"} <= report["machine"].keys()
    (written,) = (tmp_path / "results").glob("*-quick-stages-test.json")
    assert json.loads(written.read_text()) == report


def test_a_wrong_bundle_is_one_line(tmp_path, capsys):
    assert run.main(["--only", "stages", "--bundle", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "Traceback" not in said


@pytest.mark.flow
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_through_kafka(packets, monkeypatch):
    from benchmarks.broker import Plan

    plan = Plan(naive_packets=40, our_packets=200, rate=50.0, warm_s=1, paced_s=1, quiet_s=1, quiet_times=1)
    monkeypatch.setattr(Plan, "quick", classmethod(lambda cls: plan))
    broker = run.through_kafka(packets, True, bundle=None, screen=Console(quiet=True))
    for name in ("naive", "ours"):
        assert {"packets", "counted", "rejected", "cpu_us", "alerts_per_core_s", "alerts_per_s", "memory_peak_mib"} <= broker[name].keys()
        assert broker[name]["cpu_us"] > 0
        assert broker[name]["rejected"] == 0
    ours = broker["ours"]
    assert 1 <= ours["mean_batch"] <= 64
    assert ours["paced"]["detections"] == ours["paced"]["packets"] == 50
    assert 0 < ours["paced"]["p50_ms"] <= ours["paced"]["p99_ms"] <= ours["paced"]["max_ms"]
    assert len(ours["quiet"]["first_ms"]) == 1
    run.show({"broker": broker, "targets": run.judge({"broker": broker}), "quick": True}, Console(quiet=True))
