"""Labels of alerts, and detections beside them: a table → labels; packets and what became of them → figures and tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.identifiers import InexactIdError, text_id
from errors import UserError, one_line, usage
from schemas.records.detection import Detection
from schemas.records.rejected import Rejected

if TYPE_CHECKING:
    from rich.console import Console

    from evaluation.real_alerts import RealAlert
    from pipeline.state import ScoringState


def read_labels(path: Path) -> dict[str, str]:
    """Label by object id or candid; empty labels are left out.

    Raises
    ------
    UserError
        The file is missing or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            table = csv.DictReader(handle)
            names = {n.lower().replace("_", ""): n for n in table.fieldnames or ()}
            key = next((names[n] for n in ("candid", "objectid", "diaobjectid") if n in names), None)
            value = next((names[n] for n in ("label", "klass", "class", "type") if n in names), None)
            if key is None or value is None:
                raise UserError(
                    f"{path} has no column objectId or candid beside label or klass; it has {', '.join(table.fieldnames or ())}"
                )
            labels = {}
            for r in table:
                if r[key] and r[value] and r[value].strip():
                    try:
                        labels[text_id(r[key], key)] = r[value].strip()
                    except InexactIdError as error:
                        raise usage(f"{path}, line {table.line_num}: {error}") from None
            return labels
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of labels: {one_line(error, 200)}") from error


@dataclass(slots=True)
class Judge:
    """Compares detections with labels, by `evaluation.real_alerts`."""

    labels: dict[str, str]
    alerts: list[RealAlert] = field(default_factory=list)
    cross_fitted: bool = False
    """The model was fitted on real objects: each is judged by a head that was not fitted on it."""

    def add(self, packets: Sequence[bytes], outcomes: Sequence[Detection | Rejected | None], *, state: ScoringState) -> None:
        """Take packets and what became of each; None is a duplicate."""
        from evaluation.labelled_packets import real_alerts

        self.alerts += real_alerts(packets, outcomes, labels=self.labels, state=state)
        self.cross_fitted |= bool(state.unseen)

    def figures(self) -> dict[str, Any]:
        """For the report."""
        from evaluation.real_alerts import figures

        found = figures(self.alerts)
        return {"unlabelled": found["alerts"] - found["labelled"], "cross_fitted": self.cross_fitted, **found}

    def show(self, console: Console, title: str, *, brief: bool = False) -> None:
        """Print the tables."""
        from console import real_tables

        figures = self.figures()
        if figures["classes"]:
            real_tables.show(console, figures, title=title, brief=brief)
            return
        why = f"{title}: no detection has a label that the taxonomy knows"
        if not figures["labelled"] and self.alerts:
            theirs, ours = next(iter(self.labels)), self.alerts[0]
            why = (
                f"{title}: none of the {len(self.labels):,} ids of the file (such as {one_line(theirs, 40)}) is the candid or objectId"
                f" of a detection (such as candid {ours.candid}, objectId {one_line(ours.object_id, 40)}): nothing is compared"
            )
        console.print(why, soft_wrap=True)
