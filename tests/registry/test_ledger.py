"""Models and aliases in MLflow's own sqlite store; what it cannot do is one line and stops nothing."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from registry.bundle import MANIFEST, PUBLISHED, load
from registry.ledger import LedgerError, aliases, installed, log, set_aliases
from registry.model_store import ModelStore, files_of
from settings.announced_models import ledger_uri
from settings.model import Settings

pytestmark = pytest.mark.skipif(not installed(), reason="MLflow is not installed")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ledger")
    found = ledger_uri(Settings(state=folder))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle, without figures of a recipe, as a head made anew may be."""
    import hashlib

    _, files = files_of(PUBLISHED)
    text = json.dumps(json.loads(files[MANIFEST]) | {"seed": 9, "figures": {}}).encode()
    return ModelStore(tmp_path_factory.mktemp("models")).put(hashlib.sha256(text).hexdigest(), files | {MANIFEST: text})


@pytest.mark.slow  # MLflow makes its tables by every step of their history
@pytest.mark.timeout(300)
def test_models_bear_aliases(uri: str, other: Path, tmp_path: Path) -> None:
    assert aliases(uri) == {}
    picture = tmp_path / "confusion.png"
    picture.write_bytes(b"a picture")
    first = log(uri, load(), figures={"shadow.macro": 0.75}, pictures=[picture])
    assert log(uri, load()) == first, "a bundle is one version, however often it is noted"
    set_aliases(uri, {"champion": PUBLISHED, "challenger": other})
    assert aliases(uri) == {"champion": load().sha256, "challenger": load(other).sha256}
    set_aliases(uri, {"champion": other, "previous": PUBLISHED})
    assert aliases(uri) == {"champion": load(other).sha256, "previous": load().sha256}

    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version("protonova", first)
    run = client.get_run(version.run_id)
    assert run.data.metrics["shadow.macro"] == 0.75
    assert run.data.metrics["demo.macro.5_or_more"] == load().manifest.figures["demo"]["macro"]["5+"]
    assert run.data.params["command"] == load().manifest.command[:6000]
    kept = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (kept / "pictures" / "confusion.png").read_bytes() == b"a picture"
    assert load(kept / "bundle").sha256 == load().sha256
    assert not Path("mlruns").exists(), "nothing is left in the working folder"


def test_a_server_that_is_not_there_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(LedgerError) as caught:
        set_aliases(f"http://127.0.0.1:{port}", {"champion": PUBLISHED})
    assert "\n" not in str(caught.value)
    assert f"127.0.0.1:{port}" in str(caught.value)


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(LedgerError, match="not noted in sqlite"):
        log(f"sqlite:///{tmp_path}/file/mlflow.db", load())


def test_it_may_be_off() -> None:
    assert ledger_uri(Settings(ledger="off")) is None
    assert ledger_uri(Settings(ledger="http://ledger:5000")) == "http://ledger:5000"
