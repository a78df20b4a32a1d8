"""What `protonova run` refuses before it starts anything, and the line it prints for those who read along."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from console.claim import claim
from console.commands.run import Supervisor, kcat_line
from errors import UserError
from settings.model import Settings


def test_two_runs_do_not_share_a_state_folder_at_a_cluster_either(tmp_path: Path) -> None:
    settings = Settings(kafka="127.0.0.1:1", state=tmp_path)  # nothing listens: it is refused before the broker is asked
    held = claim(tmp_path / "run", tmp_path)
    with pytest.raises(UserError, match="another protonova run uses the state folder"):
        Supervisor(settings).start()
    held.close()
    with pytest.raises(KafkaError, match="bootstrap"):
        Supervisor(settings).start()
    claim(tmp_path / "run", tmp_path).close()  # the one that failed let it go


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be used: .*directory"):
        claim(tmp_path / "state" / "run", tmp_path / "state")


@pytest.mark.parametrize(
    ("table", "decoded"), [({}, True), ({"detections.*": "json"}, True), ({"detections": "json"}, False), ({"*": "container"}, False)]
)
def test_the_printed_kcat_line_asks_for_a_registry_only_where_the_form_has_one(table: dict[str, str], decoded: bool) -> None:
    settings = Settings(kafka="127.0.0.1:9", dialects=table)
    supervisor: Any = SimpleNamespace(settings=settings, status_page="http://127.0.0.1:8580/")
    line = "kcat -b 127.0.0.1:9 -t detections"
    assert kcat_line(supervisor) == line + (" -s value=avro -r http://127.0.0.1:8580" if decoded else "")
