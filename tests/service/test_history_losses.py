"""A loss that only the history's records show is one on the status page too."""

from __future__ import annotations

import time
from pathlib import Path

from data.history.counting import Sample
from data.history.nights import begin_of, night_of
from data.history.portion import Place
from data.history.sqlite_writer import SqliteWriter
from service.status.balance import Partition
from service.status.figures import Figures
from service.status.history_losses import HistoryLosses
from service.status.page import page
from settings.model import Settings
from streams.kafka.offset_ledger import Ledger
from tests.data.history_rows import portion, sky


def test_it_is_asked_where_there_is_one_and_its_losses_are_shown(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, kafka="127.0.0.1:9092")
    losses = HistoryLosses(settings)
    assert losses.lost() == {}
    night = night_of(int(1000 * time.time()), "ztf")
    rows = [r._replace(arrived_ms=begin_of(night, "ztf")) for r in sky(100) if r.origin and r.origin.offset not in (7, 8)]
    with SqliteWriter(settings.history_path()) as writer:
        writer.commit(portion(rows))
        places = [Place("alerts.ztf", 0), Place("alerts.ztf", 1)]
        writer.nights([(night, place, 0) for place in places])
        writer.ends(dict.fromkeys(places, 50), 1)
        writer.settle([Sample("alerts.ztf", p, 0, 5, 5, 0, 0, 0, 0, 0, night) for p in (0, 1)])
        assert losses.lost() == {}
        writer.settle([Sample("alerts.ztf", p, 0, 50, 50, 0, 0, 0, 0, 0, night) for p in (0, 1)])
        assert losses.lost() == {"alerts.ztf": 4}
    losses.close()
    figures = Figures(time.time, "127.0.0.1:9092")
    figures.look([Partition("alerts.ztf", p, "id", 0, 50, 50, Ledger(0, detections=50)) for p in (0, 1)])
    assert figures.balance.snapshot()["state"] == "balanced"  # by the workers' word
    figures.history_lost = {"alerts.ztf": 4}
    snapshot = figures.snapshot()
    assert (snapshot["balance"]["state"], snapshot["balance"]["history_lost"]) == ("loss", 4)
    assert "4 lost by the history" in page(snapshot)
