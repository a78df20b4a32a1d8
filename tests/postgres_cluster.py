"""A PostgreSQL of the test session's own, on a socket, started by a user without rights; Debian's package `postgresql` has it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MISSING = "no postgresql is installed"


def programs() -> Path | None:
    """The folder of the server's programs, the latest version's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def _owner() -> str | None:
    """Who runs it; None: we do, which PostgreSQL refuses root."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(entry for entry in ("postgres", "daemon") if entry in names)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a cluster, with its superuser."""
    where = programs()
    if where is None:
        pytest.skip(MISSING)
    owner, folder = _owner(), Path(tempfile.mkdtemp(prefix="protonova-pg-"))
    options: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder}
    if owner:
        shutil.chown(folder, owner)
        options |= {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []}
    data = folder / "data"
    settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c full_page_writes=off -c shared_buffers=64MB"
    try:
        subprocess.run([where / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"], **options)
        subprocess.run([where / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", settings, "start"], **options)
        yield f"postgresql:///postgres?host={folder}&user=postgres"
    finally:
        subprocess.run([where / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **{**options, "check": False})
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The address of a database without a history."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as db:
        db.execute("SET client_min_messages = warning")
        db.execute("DROP SCHEMA IF EXISTS protonova CASCADE")
    return postgres_server
