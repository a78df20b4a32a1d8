"""The exception tree, and what becomes of an error in a command."""

from __future__ import annotations

import errno
import importlib
from pathlib import Path

import pytest

import errors
from console.failures import guarded
from errors import InternalError, ProtonovaError, RetryableError, SettingsError, UserError, nearest, one_line

USER = (
    "errors:SettingsError", "registry.bundle:BundleError", "data.tables:TableError", "data.simulate.sample:NeverSeenError",
    "data.simulate.described:DescriptionError", "evaluation.zeroshot:PriorError", "evaluation.handmade:FeaturesError",
    "data.label_table:PacketsError", "evaluation.card:CardError",
)  # fmt: skip
RETRYABLE = ("gpu.session:EngineError", "streams.agents.detector:EngineFailure")


@pytest.mark.parametrize(("place", "parent"), [*((p, UserError) for p in USER), *((p, RetryableError) for p in RETRYABLE)])
def test_errors_are_in_the_tree(place: str, parent: type[ProtonovaError], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, name = place.partition(":")
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, parent)

    def fails() -> int:
        raise kind("what is wrong\nin two lines")

    assert guarded(fails, lambda: tmp_path) in (1, 2)
    line = capsys.readouterr().err
    assert line.startswith("protonova: what is wrong in two lines")
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "no log of a traceback: it was expected"


def test_the_three_branches_exclude_each_other() -> None:
    branches = (UserError, RetryableError, InternalError)
    assert all(issubclass(b, ProtonovaError) for b in branches)
    assert not any(issubclass(a, b) for a in branches for b in branches if a is not b)
    assert SettingsError("x").code == errors.USAGE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", ["state/run/worker-0.json", None])
def test_a_full_disk_is_reported_with_what_to_free(
    number: int, name: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> int:
        raise OSError(number, "full", name)

    assert guarded(fails, lambda: tmp_path) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "no space is left" in line
    assert name is None or name in line
    assert "--fresh" not in line
    assert "delete" not in line.lower()
    assert "remove" not in line.lower()


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07x", "\x9b31mred", "a\u202eb", "\x00\r\n\t\x7f", "\u2066x\u2069"])
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    shown = one_line(f"ZTF{text}end")
    assert shown.isprintable()
    assert shown.startswith("ZTF")
    assert shown.endswith("end")


@pytest.mark.parametrize(("word", "best"), [("TDEE", "tde"), ("Kilonva", "kilonova"), ("zzz", "sn-ia")])
def test_the_nearest_word_is_found_whatever_its_case(word: str, best: str) -> None:
    known = ("sn-ia", "tde", "kilonova") if word != "zzz" else ("sn-ia",)
    assert nearest(word, known) == best
    assert nearest("zzz", known, cutoff=0.8) is None
