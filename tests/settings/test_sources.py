"""A source is whole or it is refused in one line; patterns name the topics they should and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from errors import SettingsError
from settings.model import Settings
from settings.sources import Source

GOOD: dict[str, Any] = {"name": "ztf", "bootstrap": "h:9092", "topics": [r"^ztf_\d{8}_programid1$", "extra"], "survey": "ztf"}


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        ("ztf_20261128_programid1", True),
        ("ztf_20261128_programid2", False),
        ("ztf_20261128_programid12", False),
        ("my.ztf_20261128_programid1", False),
        ("extra", True),
        ("extras", False),
    ],
)
def test_a_pattern_names_whole_topics(topic: str, wanted: bool) -> None:
    assert Source(**GOOD).wants(topic) is wanted


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bootstrap": "nowhere"}, "not host:port"),
        ({"bootstrap": "h:9092,h:0"}, "not host:port"),
        ({"topics": ["^("]}, "not a regular expression"),
        ({"topics": ["two words"]}, "not a topic name"),
        ({"from": "yesterday"}, "earliest, latest, or a time"),
        ({"security_protocol": "SASL_SSL"}, "needs username"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "needs token_url"),
        ({"security_protocol": "SASL_SSL", "username": "u", "password_file": "/nowhere/at/all"}, "there is no file"),
        ({"increments": True}, "increments are of survey tess"),
        ({"name": "A B"}, "name"),
        ({"topic": ["a"]}, "topic"),
    ],
)
def test_what_cannot_be_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Source(**(GOOD | changed))


def test_a_time_to_begin_from() -> None:
    assert Source(**(GOOD | {"from": "2026-11-23T04:00:00Z"})).start_ms() == 1795406400000
    assert Source(**(GOOD | {"from": "2026-11-23T04:00:00"})).start_ms() == 1795406400000
    assert Source(**GOOD).start_ms() is None


def test_a_secret_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    source = Source(
        **(GOOD | {"security_protocol": "SASL_SSL", "username": "u", "password": "hunter3", "password_file": str(tmp_path / "secret")})
    )
    assert source.secret() == "hunter2"
    assert "hunter" not in repr(source)


def test_a_fault_of_a_source_is_one_line_without_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    entry = '[[source]]\nname = "a"\nbootstrap = "h:1"\ntopics = ["t"]\nsurvey = "ztf"\npassword = "hunter2"\n'
    for text, words in ((entry + 'from = "when"\n', "earliest, latest"), (entry + entry, "stands twice"), (entry + "topik = 1\n", "topik")):
        (tmp_path / "protonova.toml").write_text(text)
        with pytest.raises(SettingsError, match=words) as caught:
            Settings()
        assert "hunter2" not in str(caught.value)
        assert "\n" not in str(caught.value)
