"""The command: measure, print, judge against the targets, write the result.

Figures are judged, the exit status is not: 0 whenever the measurement went through.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import math
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe, stolen, stolen_share
from benchmarks.packets import Packets, take
from benchmarks.stages import MANY, ROWS, SUMS
from console.failures import guarded
from console.report import check_writable, write
from errors import UserError

RESULTS = Path(__file__).with_name("results")
STAGE_PACKETS, QUICK_PACKETS = 570, 64
"""Taken apart stage by stage; 570 different real ones are in the shared data."""
RATIO, COST_US, P99_MS, FIRST_MS, HEAD_US = 9.3, 1200.0, 100.0, 250.0, 3.0
"""Targets: the naive stack's CPU over ours, ours [µs], latency at 200/s [ms], first alert after a quiet minute [ms], the head [µs]."""
TELEMETRY_US = 6.0
"""Target: what drift monitors, made, summed up and written [µs an alert]."""
WALL, OF_OLDER = 0.95, 0.88
"""Targets: share of what the CPU allows that is reached on the wall clock; CPU a packet over that of commit ba20483 [1]."""


def main(arguments: Sequence[str]) -> int:
    """Parse and run; a failure is one line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="The naive stack beside ours, on the same packets in one run.")
    parser.add_argument(
        "part",
        nargs="?",
        choices=("http", "crossmatch"),
        help="http: the HTTP API under load; crossmatch: catalogues; else the naive stack",
    )
    parser.add_argument("--quick", action="store_true", help="short: everything runs, nothing is long enough to quote")
    parser.add_argument("--only", choices=("stages", "histories", "broker"), help="one part")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write every figure as JSON here too")
    parser.add_argument("--bundle", type=Path, metavar="FOLDER", help="model bundle (default: the one that ships)")
    parser.add_argument("--name", default="", help="added to the result's file name")
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="an older checkout: its costs of histories and its worker are measured in this run"
    )
    options = parser.parse_args(arguments)
    if options.part == "crossmatch":
        from benchmarks.crossmatch import main as bench_crossmatch

        return guarded(lambda: bench_crossmatch(quick=options.quick), lambda: Path("state"))
    return guarded(lambda: bench_http(options) if options.part == "http" else bench(options), lambda: Path("state"))


def bench(options: argparse.Namespace) -> int:
    """Measure as asked."""
    check_writable(options.report)
    screen = Console()
    if options.against is not None and not (options.against / "streams" / "worker.py").is_file():
        raise UserError(f"{options.against} is not a checkout: it has no streams/worker.py", 2)
    report = measure(options.quick, options.only, bundle_folder=options.bundle, screen=screen, against=options.against)
    show(report, screen)
    name = "-".join(filter(None, ("quick" if options.quick else "", options.only, options.name))) or "full"
    path = RESULTS / f"{report['date'][:10]}-{name}.json"
    write(path, report)
    write(options.report, report)
    screen.print(f"\nwritten to {path}")
    return 0


def bench_http(options: argparse.Namespace) -> int:
    """Measure the HTTP API."""
    from benchmarks.http_api import measure as measure_http
    from benchmarks.http_api import targets

    check_writable(options.report)
    screen, machine, before = Console(), describe(), stolen()
    packets = take(STAGE_PACKETS)
    found = measure_http(packets, quick=options.quick, bundle=options.bundle)
    machine["stolen_share"] = stolen_share(before)
    report = {
        "command": "bench http",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": options.quick,
        "machine": machine,
        "source": packets.source,
        "http": found,
        "targets": judged(targets(found)),
    }
    screen.print(http_table(found))
    screen.print(target_table(report["targets"]))
    name = "-".join(filter(None, ("quick" if options.quick else "", "http", options.name)))
    path = RESULTS / f"{report['date'][:10]}-{name}.json"
    write(path, report)
    write(options.report, report)
    screen.print(f"\nwritten to {path}")
    return 0


def http_table(found: Mapping[str, Any]) -> Table:
    """Loads of the HTTP API."""
    table = Table(title=f"the HTTP API by {found['processes']} processes", title_justify="left", pad_edge=False)
    for name in ("", "requests/s", "p50", "p99", "server µs", "floor µs", "generator µs", "cores"):
        table.add_column(name, justify="left" if not name else "right")
    rows = [
        (f"score {what}", load, found[what]["floor_us"], found[what][load])
        for what in ("packets", "curves")
        for load in ("saturated", "paced")
    ]
    rows += [("push", load, None, found["push"][load]) for load in ("saturated", "paced") if found["push"] is not None]
    for what, load, floor, row in rows:
        pace = load if row["rate"] is None else f"{row['rate']:g}/s"
        cells = (row["per_s"], row["p50_ms"], row["p99_ms"], row["server_us"], floor, row["generator_us"], row["cores_server"])
        table.add_row(f"{what}, {pace}", *map(number, cells))
    return table


def measure(quick: bool, only: str | None, *, bundle_folder: Path | None, screen: Console, against: Path | None = None) -> dict[str, Any]:
    """Run all parts (or one) and put the report together."""
    from pipeline.state import load
    from registry.bundle import load as load_bundle

    machine, before = describe(), stolen()
    packets = take(QUICK_PACKETS if quick else STAGE_PACKETS)
    bundle = load_bundle(bundle_folder)
    state = load(bundle_folder, engine="onnxruntime")
    screen.print(f"[bold]{packets.source}[/bold], {packets.mean_bytes / 1e3:.1f} kB each on average")
    screen.print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; load {machine['load_average_before'][0]}")
    report: dict[str, Any] = {
        "command": "bench",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": quick,
        "machine": machine,
        "source": packets.source,
        "real": packets.real,
        "mean_bytes": packets.mean_bytes,
        "packets": len(packets.values),
        "detections": 0,
        "duplicates": 0,
        "skipped": 0,
        "rejected": {},
        "engine": state.engine,
        "model": state.model,
        "scoring_id": state.scoring_id,
    }
    if only in (None, "stages"):
        from benchmarks.stages import measure as measure_stages

        with screen.status("stage by stage"):
            report["stages"] = [row.figures() for row in measure_stages(packets, bundle, state=state, repeats=3 if quick else 7)]
        report["detections"] = len(packets.values)
    if only in (None, "histories"):
        from benchmarks.histories import measure as measure_histories

        with screen.status("histories"):
            report["histories"] = measure_histories(packets, repeats=3 if quick else 7, against=against)
    if only in (None, "broker"):
        report["broker"] = through_kafka(packets, quick, bundle=bundle_folder, screen=screen, against=against)
        report["against"] = None if against is None else commit(against)
        ours = report["broker"]["ours"]
        report["packets"], report["rejected"] = ours["packets"], {"all": ours["rejected"]} if ours["rejected"] else {}
        report["detections"] = ours["packets"] - ours["rejected"]
    machine["stolen_share"] = stolen_share(before)
    report["targets"] = judge(report)
    return report


def through_kafka(packets: Packets, quick: bool, *, bundle: Path | None, screen: Console, against: Path | None = None) -> dict[str, Any]:
    """The half that needs a broker."""
    from benchmarks.bench_service import Plan
    from benchmarks.broker import Bench
    from console.kafka_node.node import LocalKafka

    with tempfile.TemporaryDirectory(prefix="protonova-bench-") as folder, screen.status("Kafka starts") as status:
        kafka = LocalKafka()
        kafka.start(Path(folder))
        try:
            plan = Plan.quick() if quick else Plan()
            return asyncio.run(Bench(packets, plan, state=Path(folder), bundle=bundle, say=status.update, against=against).run(kafka))
        finally:
            kafka.stop()


def commit(folder: Path = Path(__file__).parent) -> str:
    """Which code ran: the commit, with a mark where the tree held changes."""
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def judge(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each target with what was reached; None where it was not measured."""
    rows: list[tuple[str, float | None, str, float, str]] = []
    if "histories" in report:
        from benchmarks.histories import targets

        rows += targets(report["histories"])
    for stage in report.get("stages", ()):
        if stage["stage"] == MANY:
            rows.append((f"{MANY}, CPU an alert", stage["ours_us"], "<=", HEAD_US, "µs"))
    telemetry = [stage["ours_us"] for stage in report.get("stages", ()) if stage["stage"] in (ROWS, SUMS)]
    if telemetry:
        rows.append(("telemetry, CPU an alert", sum(telemetry), "<=", TELEMETRY_US, "µs"))
    if "broker" in report:
        rows += _of_broker(report["broker"])
    return judged(rows)


def judged(rows: Sequence[tuple[str, float | None, str, float, str]]) -> list[dict[str, Any]]:
    """Targets with whether each is kept."""
    return [
        {"target": name, "reached": value, "limit": limit, "unit": unit, "sense": sense, "passed": passes(value, sense, limit=limit)}
        for name, value, sense, limit, unit in rows
    ]


def _of_broker(broker: Mapping[str, Any]) -> list[tuple[str, float | None, str, float, str]]:
    ours, naive, pair = broker["ours"], broker["naive"], broker["ours"]["pair"]
    rows: list[tuple[str, float | None, str, float, str]] = [
        ("end to end through Kafka, naive over ours, CPU a packet", naive["cpu_us"] / ours["cpu_us"], ">=", RATIO, "×"),
        ("end to end through Kafka, CPU a packet", ours["cpu_us"], "<=", COST_US, "µs"),
        (f"p99 at {ours['paced']['rate']:g} packets/s", ours["paced"]["p99_ms"], "<=", P99_MS, "ms"),
        (f"first alert after {ours['quiet']['quiet_s']:g} quiet seconds, the worst", ours["quiet"]["worst_ms"], "<=", FIRST_MS, "ms"),
        ("a backlog on the wall clock, over what its CPU allows one core", ours["cores_busy"], ">=", WALL, "×"),
        ("two workers over one, over what the CPU allows", pair["over_one"] / pair["possible"] if pair else None, ">=", WALL, "×"),
    ]
    if broker.get("against"):
        rows.append(("CPU a packet, over the older checkout's", ours["cpu_us"] / broker["against"]["cpu_us"], "<=", OF_OLDER, "×"))
    return rows


def passes(value: float | None, sense: str, *, limit: float) -> bool:
    """Whether a figure keeps its target; one that was not measured does not."""
    if value is None or math.isnan(value):
        return False
    return value >= limit if sense == ">=" else value <= limit


def show(report: Mapping[str, Any], screen: Console) -> None:
    """The tables."""
    if "stages" in report:
        screen.print(stage_table(report["stages"]))
    if "histories" in report:
        screen.print(history_table(report["histories"]))
    if "broker" in report:
        screen.print(broker_table(report["broker"]))
    if report["targets"]:
        screen.print(target_table(report["targets"]))
    if "machine" in report:
        screen.print(f"{100 * report['machine']['stolen_share']:.1f} % of the CPU time went to other guests of the host")
    if report["quick"]:
        screen.print("a quick run: too short to quote")


def stage_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="CPU an alert by stage [µs], medians", title_justify="left", pad_edge=False)
    table.add_column("stage")
    for name in ("naive", "ours", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("note", style="dim")
    for row in rows:
        table.add_row(row["stage"], number(row["naive_us"]), number(row["ours_us"]), number(row["ratio"], "×"), row["note"])
    return table


def history_table(report: Mapping[str, Any]) -> Table:
    """Costs by length of history, beside another checkout's where there was one."""
    table = Table(title="CPU an alert by points of history [µs], medians", title_justify="left", pad_edge=False)
    against = report["against"]
    for name in ("points", "", *((against, "ours", "ratio") if against else ("ours",))):
        table.add_column(name, justify="left" if not name else "right")

    def add(points: str, what: str, *, new: float | None, old: float | None) -> None:
        beside = [number(old), number(new), number(new / old if new and old else None, "×")]
        table.add_row(points, what, *(beside if against else [number(new)]))

    for row in report["rows"]:
        new, old = row["new"], row.get("old", {})
        for what, name in (("whole packet", "whole_us"), ("decode", "decode_us"), ("period search of one that is folded", "fold_us")):
            add(f"{row['points']:,}", what, new=new[name], old=old.get(name))
    add("", "decode a point more", new=report["per_point_us"]["new"], old=report["per_point_us"].get("old"))
    return table


def broker_table(broker: Mapping[str, Any]) -> Table:
    """Both services side by side."""
    naive, ours = broker["naive"], broker["ours"]
    table = Table(title="end to end through Apache Kafka", title_justify="left", pad_edge=False)
    table.add_column("")
    for name in ("naive", "ours", "ratio"):
        table.add_column(name, justify="right")
    cost = naive["cpu_us"], ours["cpu_us"]
    table.add_row("worker's CPU a packet", *(number(us, "µs") for us in cost), number(cost[0] / cost[1], "×"))
    for name, key in (("alerts a second and core", "alerts_per_core_s"), ("alerts a second here", "alerts_per_s")):
        table.add_row(name, number(naive[key]), number(ours[key]), number(ours[key] / naive[key], "×"))
    table.add_row("cores busy on the backlog", number(naive["cores_busy"]), number(ours["cores_busy"]), "")
    if older := broker.get("against"):
        table.add_row("the older checkout: CPU a packet", "", number(older["cpu_us"], "µs"), number(older["cpu_us"] / ours["cpu_us"], "×"))
        table.add_row(
            "its alerts a second here", "", number(older["alerts_per_s"]), number(ours["alerts_per_s"] / older["alerts_per_s"], "×")
        )
    pair, burst = ours["pair"] or dict.fromkeys(("alerts_per_s", "over_one", "worker_us", "broker_us", "possible")), ours["burst"]
    table.add_row("two workers: alerts a second here", "", number(pair["alerts_per_s"]), number(pair["over_one"], "×"))
    cpu_us = f"{number(pair['worker_us'])} + broker {number(pair['broker_us'], 'µs')}"
    table.add_row("their CPU a packet, and what it allows", "", cpu_us, number(pair["possible"], "×"))
    table.add_row(f"98 % of {burst['packets']:,} at once are out after", "", number(burst["out_s"], "s"), "")
    table.add_row("mean batch", "1", number(ours["mean_batch"]), "")
    table.add_row("packets", number(naive["packets"]), number(ours["packets"]), "")
    table.add_row("rejected", number(naive["rejected"]), number(ours["rejected"]), "")
    table.add_row("memory, highest", number(naive["memory_peak_mib"], "MiB"), number(ours["memory_peak_mib"], "MiB"), "")
    paced, quiet = ours["paced"], ours["quiet"]
    table.add_row(f"latency at {paced['rate']:g}/s: p50", "", number(paced["p50_ms"], "ms"), "")
    table.add_row("p99", "", number(paced["p99_ms"], "ms"), "")
    table.add_row("highest", "", number(paced["max_ms"], "ms"), "")
    table.add_row(f"first alert after {quiet['quiet_s']:g} s of quiet", "", ", ".join(f"{x:.0f}" for x in quiet["first_ms"]) + " ms", "")
    return table


def target_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="targets", title_justify="left", pad_edge=False)
    for name in ("target", "reached", "asked", ""):
        table.add_column(name, justify="left" if name in ("target", "") else "right")
    for row in rows:
        sense = "≥" if row["sense"] == ">=" else "≤"
        verdict = "[green]pass[/green]" if row["passed"] else "[red]miss[/red]"
        table.add_row(row["target"], number(row["reached"], row["unit"]), f"{sense} {row['limit']:g} {row['unit']}", verdict)
    return table


def number(value: float | None, unit: str = "") -> str:
    """Three figures and the unit; a dash where nothing was measured."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".rstrip()
