"""The ledger of trainings and of which model is which: bundles, figures and pictures → runs and a registered model of MLflow.

The topics decide which model scores; the ledger is for people and their tools. A worker never needs it; a training, promotion or rollback
that cannot be noted is made all the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import RetryableError, one_line
from registry.bundle import Bundle, load

EXPERIMENT = "protonova"
MODEL = "protonova"
"""Name of the registered model; its versions bear the aliases."""
SHA256 = "sha256"
"""Tag of a version: which bundle it is."""
ARTIFACTS = "mlflow-artifacts"
"""Folder of files beside an sqlite file."""
SQLITE = "sqlite:///"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server that does not answer is asked once more, not for minutes; where the environment sets another patience, that holds."""


class LedgerError(RetryableError):
    """The ledger did not take it. One line."""


def installed() -> bool:
    """Whether MLflow is there, with what its sqlite store needs."""
    return all(importlib.util.find_spec(name) is not None for name in ("mlflow", "sqlalchemy", "alembic"))


def log(uri: str, bundle: Bundle, *, figures: Mapping[str, float] | None = None, pictures: Sequence[Path] = ()) -> str:
    """Note a bundle, once: a run with its plan, figures, pictures and files, and a version of the registered model.

    Parameters
    ----------
    uri : str
        Of an MLflow server, or of its store, such as ``sqlite:////state/mlflow.db``.
    bundle : Bundle
    figures : mapping of str to float, optional
        Beside those of the manifest.
    pictures : sequence of Path
        Files to keep with it.

    Returns
    -------
    str
        The version.

    Raises
    ------
    LedgerError
        MLflow is not installed, does not answer or refuses.
    """
    with _client(uri) as client:
        return _version(client, bundle, uri=uri, figures=figures or {}, pictures=pictures)


def set_aliases(uri: str, folders: Mapping[str, Path]) -> None:
    """Have each alias name the bundle in its folder, noting bundles that are not there yet; aliases that are not given are taken away.

    Raises
    ------
    LedgerError
        MLflow is not installed, does not answer or refuses.
    """
    with _client(uri) as client:
        versions = {alias: _version(client, load(folder), uri=uri, figures={}, pictures=()) for alias, folder in sorted(folders.items())}
        there = dict(client.get_registered_model(MODEL).aliases) if versions else {}
        for alias, version in versions.items():
            if str(there.get(alias)) != version:
                client.set_registered_model_alias(MODEL, alias, version)
        for alias in there.keys() - versions.keys():
            client.delete_registered_model_alias(MODEL, alias)


def aliases(uri: str) -> dict[str, str]:
    """Alias → sha256 of its bundle, as the ledger has them.

    Raises
    ------
    LedgerError
        MLflow is not installed, does not answer or refuses.
    """
    with _client(uri) as client:
        try:
            found = client.get_registered_model(MODEL).aliases
        except Exception as error:
            if _code(error) == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: client.get_model_version(MODEL, version).tags.get(SHA256, "") for alias, version in found.items()}


@contextmanager
def _client(uri: str) -> Iterator[Any]:
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own, of its schema's models and of what will go
            mlflow = importlib.import_module("mlflow")  # 1.4 s to import, and wanted by few
            logging.getLogger("mlflow").setLevel(logging.ERROR)
            logging.getLogger("alembic").setLevel(logging.ERROR)
            yield mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except LedgerError:
        raise
    except Exception as error:  # the client raises what its transport raises
        raise LedgerError(f"not noted in {uri}: {one_line(error, 300)}") from error


def _version(client: Any, bundle: Bundle, *, uri: str, figures: Mapping[str, float], pictures: Sequence[Path]) -> str:
    """The version that a bundle is, made where there is none."""
    try:
        client.create_registered_model(MODEL)
    except Exception as error:
        if _code(error) != "RESOURCE_ALREADY_EXISTS":
            raise
    known = [one for one in client.search_model_versions(f"name='{MODEL}'") if one.tags.get(SHA256) == bundle.sha256]
    if known:
        return str(known[0].version)
    run = client.create_run(_experiment(client, uri), run_name=bundle.sha256[:16])
    run_id = run.info.run_id
    for name, value in _params(bundle).items():
        client.log_param(run_id, name, value)
    for name, number in {**_metrics(bundle), **figures}.items():
        client.log_metric(run_id, name, float(number))
    client.log_artifacts(run_id, str(bundle.path), "bundle")
    for picture in pictures:
        client.log_artifact(run_id, str(picture), "pictures")
    client.set_terminated(run_id)
    made = client.create_model_version(MODEL, source=f"{run.info.artifact_uri}/bundle", run_id=run_id, tags={SHA256: bundle.sha256})
    return str(made.version)


def _experiment(client: Any, uri: str) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    # Else MLflow would keep the files of an sqlite store in the working folder, whichever that is.
    where = (Path(uri.removeprefix(SQLITE)).parent / ARTIFACTS).absolute().as_uri() if uri.startswith(SQLITE) else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=where))


def _params(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    recipe = manifest.figures.get("recipe")
    said = {"command": manifest.command, "head_command": manifest.head_command, "seed": str(manifest.seed), SHA256: bundle.sha256}
    said |= {"dvc_lock": manifest.lock} if manifest.lock else {}
    return said | {f"recipe.{name}": str(value) for name, value in (recipe or {}).items()}


def _metrics(bundle: Bundle) -> dict[str, float]:
    """The figures of the manifest that are numbers, by their path; confusions and the like lie in the bundle."""
    return {name.replace("+", "_or_more"): value for name, value in _flat(bundle.manifest.figures) if not name.startswith("recipe.")}


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}{key}", float(value)


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))
