"""Labels of alerts: the latest counts, one that changes its mind is reported, an object's label is its other alerts' too."""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.records import codec
from schemas.records.known_label import KnownLabel
from streams.known_labels import Labels

LABEL = KnownLabel("ztf", 5, "ZTF18a", "tde", "person", 1.0, "ada", 1000)


@dataclass
class Message:
    """What a consumer hands out."""

    key: bytes | None
    value: bytes | None


def message(label: KnownLabel) -> Message:
    return Message(label.key, codec.encode(label))


def test_the_latest_label_of_an_alert_counts_and_a_changed_mind_is_reported() -> None:
    labels = Labels()
    assert labels.take(message(LABEL)) is None
    assert labels.take(message(replace(LABEL, source="tns"))) is None  # the same, said again
    assert labels.changed == 0
    changed = labels.take(message(replace(LABEL, label="agn", author="bob")))
    assert changed is not None
    assert changed.after is not None
    assert (changed.before.label, changed.after.label, labels.changed) == ("tde", "agn", 1)
    assert labels.of("ztf", 5) == "agn"
    withdrawn = labels.take(Message(LABEL.key, None))
    assert withdrawn is not None
    assert withdrawn.after is None
    assert labels.of("ztf", 5, object_id="ZTF18a") is None
    assert (len(labels), labels.changed) == (0, 2)


def test_a_label_of_an_object_holds_for_its_other_alerts_but_not_one_of_an_image() -> None:
    labels = Labels()
    labels.take(message(LABEL))
    assert labels.of("ztf", 6, object_id="ZTF18a") == "tde"
    assert labels.of("ztf", 6) is None
    assert labels.of("lsst", 6, object_id="ZTF18a") is None
    labels.take(message(replace(LABEL, candid=7, label="agn", made_ms=2000)))
    assert labels.of("ztf", 6, object_id="ZTF18a") == "agn"
    assert labels.of("ztf", 5, object_id="ZTF18a") == "tde"
    labels.take(message(replace(LABEL, candid=8, label="bogus", made_ms=3000)))
    assert labels.of("ztf", 6, object_id="ZTF18a") == "agn"
    assert labels.of("ztf", 8, object_id="ZTF18a") == "bogus"


def test_a_doubtful_label_does_not_count_where_more_is_asked_for() -> None:
    labels = Labels()
    labels.take(message(replace(LABEL, confidence=0.4)))
    assert labels.of("ztf", 5, least=0.5) is None
    assert labels.of("ztf", 5, least=0.4) == "tde"
    assert labels.of("ztf", 6, object_id="ZTF18a", least=0.5) is None


def test_what_cannot_be_a_label_is_left_out() -> None:
    labels = Labels()
    for key, value in ((b"ztf:5", b"nothing of ours"), (b"no number", None), (None, None), (b"ztf:6", codec.encode(LABEL)), (b"", b"")):
        assert labels.take(Message(key, value)) is None
    assert len(labels) == 0
