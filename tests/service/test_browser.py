"""The page in a real browser on a phone: nothing is wider than the window, a refresh moves nothing, tables scroll by the keyboard."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from schemas.records.table import subjects
from service.status.app import make_app
from service.status.balance import Partition
from service.status.figures import Figures
from streams.kafka.offset_ledger import Ledger
from tests.service.conftest import Serving
from tests.service.test_figures import summary
from tools.docs.browser import Browser, browser_path
from tools.docs.page_pictures import SCROLLED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]


def flowing(figures: Figures) -> None:
    """A second of a flow."""
    now = time.time()
    figures.pulse.beat()
    figures.look([Partition("alerts.ztf", p, "", 0, 12_345_678, 12_345_670, Ledger(0, 12_345_668)) for p in range(4)])
    figures.summary(summary(now - 1, now, 90, 4, truncated=1))
    figures.classes.update({"eclipsing-binary": 90})
    figures.published.update({"eclipsing-binary": 80})
    shown = {"survey": "ztf", "object_id": "ZTF25abcdefg", "class": "eclipsing-binary", "prior_probability": 0.91, "novelty": 0.2}
    shown |= {"published": True, "real": True, "balanced_class": "rr-lyrae", "balanced_probability": 0.5}
    figures.detection(now, {**shown, "conformal_set": ["eclipsing-binary", "rr-lyrae"], "band": "g", "flux": -3.0, "n_detections": 4})


@pytest.fixture
def phone(serving: Serving) -> Iterator[Browser]:
    figures, over = Figures(time.time, "127.0.0.1:9092"), threading.Event()

    def flow() -> None:
        while not over.wait(0.5):
            flowing(figures)

    flowing(figures)
    thread = threading.Thread(target=flow)
    thread.start()
    try:
        with serving(make_app(figures, subjects(), host="127.0.0.1")) as port, Browser() as browser:
            browser.open(f"http://127.0.0.1:{port}/", 390)
            yield browser
    finally:
        over.set()
        thread.join()


def test_a_phone_shows_class_and_probability_and_keeps_its_place(phone: Browser) -> None:
    assert phone.run("document.documentElement.scrollWidth") <= 390
    cells = """[...document.querySelectorAll('[aria-label="Last detections"] tbody tr:first-child td')].map((e) =>
        [e.textContent, e.getBoundingClientRect().right])"""
    (name, right), (probability, end), *_ = phone.run(cells)
    assert (name, probability) == ("eclipsing-binary", "0.91")
    assert right < end < 390, "they are in sight without scrolling"
    before = phone.run("document.querySelector('.identity').textContent")
    assert phone.run(SCROLLED) == "", "what was scrolled or focused stays so"
    assert phone.run("document.querySelector('.identity').textContent") != before, "and the page went on meanwhile"
    assert phone.run("document.getElementById('link').textContent") == "live"


def test_alarms_come_and_go_without_a_reload(phone: Browser) -> None:
    assert "unaccounted for" in phone.run("document.querySelector('.state').textContent")
    assert phone.run("document.querySelectorAll('.alarms li').length") == 1
    assert phone.run("getComputedStyle(document.querySelector('.state')).color") == "rgb(194, 47, 47)"
