"""Which real alerts count as wrong, which are shown, and that the page needs no other file."""

from __future__ import annotations

import csv
import re
import struct
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation import wrong_alerts
from evaluation.real_alerts import RealAlert
from evaluation.wrong_alerts import Gallery, LightCurve, gallery, reason_of, spread, truth_of
from gpu.choose import choose
from registry.bundle import Bundle, load
from tools.docs import alert_pictures, wrong_page
from tools.docs.browser import Browser, browser_path


def alert(label: str, called: str, *, star: bool = False, name: str = "o") -> RealAlert:
    return RealAlert(name, 1, 0.0, label, 9, called, called, star)


@pytest.mark.parametrize(
    ("label", "called", "star", "reason", "truth"),
    [
        ("SN Ia", "sn-ia", False, None, "sn-ia"),
        ("SN Ia", "sn-ii", False, "another class of its group (sn)", "sn-ia"),
        ("SN Ia", "agn", True, "sn called agn", "sn-ia"),
        ("YSO", "bogus", False, "star called bogus", "yso"),
        ("YSO", "other", False, "star called other", "yso"),
        ("other_var/Cepheid", "rr-lyrae", False, None, "Cepheid"),
        ("other_var/Cepheid", "agn", False, "outside label, star called agn", "Cepheid"),
        ("other_var/QSO_Candidate", "agn", False, None, "QSO_Candidate"),
        ("other_var/QSO_Candidate", "tde", False, "outside label, agn called sn", "QSO_Candidate"),
        ("", "agn", False, None, "catalogue star"),
        ("", "agn", True, "catalogue star called agn", "catalogue star"),
        ("other_var/IR", "slsn", True, "catalogue star called sn", "catalogue star"),
        ("", "lpv", True, None, "catalogue star"),
        ("", "asteroid", True, None, "catalogue star"),
    ],
)
def test_what_is_wrong_and_why(label: str, called: str, star: bool, reason: str | None, truth: str) -> None:
    one = alert(label, called, star=star)
    assert reason_of(one) == reason
    assert truth_of(one) == truth


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load()


@pytest.fixture(scope="module")
def found(shared: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    folder = tmp_path_factory.mktemp("packets")
    (folder / "LABELS.csv").symlink_to(shared / "ztf_alerts" / "LABELS.csv")
    with (folder / "LABELS.csv").open() as file:
        files = [row["first_file"] for row in csv.DictReader(file) if row["klass"] not in ("", "asteroid")]
    for number, name in enumerate(sorted({name for name in files if name.endswith(".avro")})):
        (folder / f"{number}.avro").symlink_to(shared / "ztf_alerts" / name)
    return gallery(folder, bundle, session=choose(bundle.encoder, "onnxruntime")[0], number=8)


def test_each_object_is_shown_once_and_is_wrong(found: Gallery, bundle: Bundle) -> None:
    assert 0 < len(found.shown) <= 8
    assert len({w.alert.object_id for w in found.shown}) == len(found.shown)
    assert sum(sum(by.values()) for by in found.counts.values()) == found.objects
    for w in found.shown:
        assert reason_of(w.alert) == w.reason
        assert w.detection.candid == w.alert.candid
        assert found.counts[w.reason][f"{w.truth} → {w.alert.decision}"] >= 1


def test_what_is_shown_is_what_was_known(found: Gallery, bundle: Bundle) -> None:
    for w in found.shown:
        assert w.curve.days.max() == pytest.approx(0, abs=1e-3), "the alert is the last of its light curve"
        assert np.isfinite(w.curve.flux).sum() >= 1
        assert w.stamps.shape == (3, 32, 32)
        for near in (w.prototypes, w.examples):
            distances = [n.distance for n in near]
            assert distances == sorted(distances)
            assert {n.name for n in near} <= set(bundle.classes)
        # float16 of the record against the stream's float32
        assert w.prototypes[0].name == w.detection.nearest_prototype
        assert w.prototypes[0].distance == pytest.approx(w.detection.prototype_distance, abs=2e-3)


def test_reasons_take_turns(found: Gallery) -> None:
    one = found.shown[0]
    many = [replace(one, reason="often", truth=f"t{i % 3}", alert=replace(one.alert, object_id=f"a{i}")) for i in range(30)]
    rare = replace(one, reason="rare", alert=replace(one.alert, object_id="b"))
    chosen = spread([*many, rare], 7)
    assert Counter(w.reason for w in chosen) == {"often": 6, "rare": 1}
    assert Counter(w.truth for w in chosen if w.reason == "often") == {"t0": 2, "t1": 2, "t2": 2}
    assert len(spread(many, 100)) == 30


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(found: Gallery, bundle: Bundle) -> None:
    hostile = replace(found.shown[0], alert=replace(found.shown[0].alert, label='<script>alert("x")</script>'))
    text = wrong_page.page(replace(found, shown=(hostile, *found.shown[1:])), bundle)
    assert text.count("<article>") == len(found.shown)
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert "url(" not in text
    for w in found.shown:
        assert w.detection.object_id in text
    assert bundle.sha256[:12] in text


def test_a_stamp_is_a_picture_with_the_first_row_below() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    image[0, 0] = np.nan
    pixels = np.stack([np.full((3, 4), 7), np.full((3, 4), 255)], axis=-1).astype(np.uint8)
    data = alert_pictures.png(pixels)
    assert struct.unpack(">II", data[16:24]) == (4, 3)
    start = data.index(b"IDAT") + 4
    rows = zlib.decompressobj().decompress(data[start:])
    assert rows == (b"\0" + bytes([7, 255] * 4)) * 3
    assert alert_pictures.stamp(image).startswith("data:image/png;base64,")
    assert alert_pictures.stamp(np.full((3, 4), np.nan, dtype=np.float32)) == ""


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-30.0, 0.0), (-4712.0, 33.0), (1e-6, 3e-6), (5.0, 5.0)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    found = alert_pictures.ticks(low, high)
    assert 1 <= len(found) <= 7
    assert all(low <= t <= high for t in found)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_curve_of_limits_alone_is_drawn(n: int) -> None:
    gone = np.full(n, np.nan, dtype=np.float32)
    curve = LightCurve(
        -np.arange(n, dtype=float), np.full(n, 4746.5, np.float32), gone, gone, np.full(n, 20.0, np.float32), np.zeros(n, np.float32)
    )
    drawn = alert_pictures.light_curve(curve, title='a "b" <c>')
    assert drawn.count('class="limit') == n
    assert "nan" not in drawn
    assert "<c>" not in drawn


def test_a_folder_without_labels_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong_page.main(["--packets", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "LABELS.csv is not there" in line
    assert not (tmp_path / "out").exists()


def test_prototypes_of_a_class_are_one_class(bundle: Bundle) -> None:
    near = wrong_alerts.near_prototypes(
        np.asarray(bundle.reference.views.embedding[:1], dtype=np.float32), bundle.head, classes=bundle.classes
    )
    names = [n.name for n in near]
    assert len(set(names)) == len(names) == wrong_alerts.NEAREST


@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_shows_every_picture_within_the_window(width: int, found: Gallery, bundle: Bundle, tmp_path: Path) -> None:
    if browser_path() is None:
        pytest.skip("no chromium is installed")
    path = tmp_path / wrong_page.PAGE
    path.write_text(wrong_page.page(found, bundle), encoding="utf-8")
    with Browser() as browser:
        browser.open(path.as_uri(), width)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert browser.run("document.images.length") >= len(found.shown)
        assert browser.run("[...document.querySelectorAll('.curve > svg')].every(s => s.getBoundingClientRect().height > 100)")
