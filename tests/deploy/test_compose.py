"""The containers cannot be started in a test without Docker; what can be held without it is held here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from console.cli import app
from settings.model import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "protonova:local"}


def worker_port(service: dict[str, Any]) -> int:
    """As `streams` chooses it: the setting plus the slot."""
    command = service["command"]
    return int(service["environment"]["PROTONOVA_METRICS_PORT"]) + int(command[command.index("--slot") + 1])


def test_what_the_issue_asks_for_is_there():
    assert {"kafka", "worker-0", "worker-1", "status", "prometheus", "grafana"} <= set(SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_the_command_exists_with_its_flags(name):
    command, *rest = OURS[name]["command"]
    known = get_command(app).commands
    assert command in known, f"protonova has no command {command}: {sorted(known)}"
    flags = {flag for parameter in known[command].params for flag in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= flags


@pytest.mark.parametrize("name", OURS)
def test_environment_names_are_settings(name):
    settings = {f"PROTONOVA_{field.upper()}" for field in Settings.model_fields}
    named = {variable for variable in OURS[name]["environment"] if variable.startswith("PROTONOVA_")}
    assert named <= settings, f"no settings: {sorted(named - settings)}"


def test_the_image_sets_settings_only():
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    named = set(re.findall(r"PROTONOVA_[A-Z_]+", text))
    assert named <= {f"PROTONOVA_{field.upper()}" for field in Settings.model_fields}


def test_the_image_holds_every_package():
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["root_packages"]
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert {name for name in packages if f"COPY {name} {name}" in text} == set(packages)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), f"the Dockerfile copies {path}, which is not there"


def test_no_image_floats():
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", service["image"]), f"{name} runs {service['image']}"
    for image in re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE):
        assert re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]+", image), image


def test_ports_are_bound_to_loopback():
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert str(port).startswith("127.0.0.1:"), f"{name} opens {port} to the network"


def test_mounted_folders_are_there():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_dir(), f"{name} mounts {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name} mounts {source}, which is not declared"


def test_topics_are_made_before_a_worker_starts():
    for name in OURS.keys() - {"topics"}:
        assert "topics" in OURS[name]["depends_on"], name
    assert OURS["topics"]["command"] == ["topics", "--repair"]
    assert OURS["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"


def test_prometheus_asks_every_worker_and_the_status_service():
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target for job in jobs for group in job["static_configs"] for target in group["targets"]}
    workers = {f"{name}:{worker_port(service)}" for name, service in OURS.items() if service["command"][0] == "worker"}
    status = f"status:{Settings.model_fields['status_port'].default}"
    assert targets == workers | {status}
    assert all(service["environment"]["PROTONOVA_METRICS_HOST"] == "0.0.0.0" for service in OURS.values())
