"""The ledger of trainings: a bundle's numbers, figures and files → a run on an MLflow server.

A worker never needs it, and a training that cannot be logged is made all the same.
"""

from __future__ import annotations

import importlib

from errors import RetryableError, one_line
from registry.bundle import Bundle

EXPERIMENT = "protonova"


class LedgerError(RetryableError):
    """The ledger did not take the run. One line."""


def log(uri: str, bundle: Bundle) -> None:
    """Write a bundle into the ledger.

    Parameters
    ----------
    uri : str
        Of an MLflow server, or of its store.
    bundle : Bundle
        Of `learning.recipe.train`.

    Raises
    ------
    LedgerError
        MLflow is not installed, does not answer or refuses.
    """
    manifest = bundle.manifest
    try:
        mlflow = importlib.import_module("mlflow")  # 1.4 s to import, and wanted by few
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        with mlflow.start_run(run_name=bundle.sha256[:16]):
            mlflow.log_params({**manifest.figures["recipe"], "command": manifest.command, "lock": manifest.lock})
            demo = manifest.figures["demo"]
            for name in ("accuracy", "macro"):
                mlflow.log_metrics({f"{name}_{detections.replace('+', '_or_more')}": value for detections, value in demo[name].items()})
            mlflow.log_metrics({"ece": demo["ece"], "coverage": demo["coverage"]})
            mlflow.log_artifacts(str(bundle.path), "bundle")
    except Exception as error:  # the client raises what its transport raises
        raise LedgerError(f"not logged to {uri}: {one_line(error, 300)}") from error
