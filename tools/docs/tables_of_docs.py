"""The tables of `docs/` out of the code that they describe: `python tools/docs/tables_of_docs.py` writes them, a test holds them equal.

settings, the wiring table, the schemas, the taxonomy → settings.md, topics.md, detection.md, classes.md, labels.md,
filter-fields.md;
the Avro schema → the JSON Schema beside it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from operators.features import FEATURES
from schemas.catalogue_labels import GROUP_OF, GROUPS, OBJECT_TYPES, SUBTYPES
from schemas.filters.filter_fields import FIELDS
from schemas.records import json_form
from schemas.records.table import TABLE, latest
from schemas.taxonomy import CLASSES, TAXONOMY
from settings.model import Settings
from streams.kafka.topics import DAY, wiring

DOCS = Path(__file__).parents[2] / "docs"


def grid(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines) + "\n"


def settings() -> str:
    """The page docs/settings.md."""
    parts = []
    for section in Settings.sections():
        title = (section.__doc__ or "").partition("\n")[0].rstrip(".")
        rows = [(f"`{name}`", f"`{var}`", f"`{default}`" if default else "–", doc) for name, var, default, doc in Settings.table(section)]
        parts.append(f"## {title}\n\n" + grid(("setting", "environment", "default", "meaning"), rows))
    return (
        "# Settings\n\nA flag of a command beats the environment, the environment beats `protonova.toml` in the working folder (the\n"
        "same names, without the prefix). A wrong one, or a name that is not a setting, is one line of error. Passwords come from the\n"
        "environment or from a file and are never logged.\n\n" + "\n".join(parts)
    )


def topics() -> str:
    """The page docs/topics.md."""

    def kept(topic: Any) -> str:
        return "compacted" if topic.cleanup == "compact" else f"{topic.retention_ms / DAY:g} d"

    rows = [
        (f"`{t.name}`", t.key, t.value, "as set" if t.partitions is None else t.partitions, kept(t), f"{t.max_bytes:,}") for t in wiring(())
    ]
    row = wiring(["<class>"])[-1]  # what stands for every class's own topic
    rows.append((f"`{row.name}`", row.key, row.value, row.partitions or "as set", kept(row), f"{row.max_bytes:,}"))
    return (
        "# Topics\n\nDeclared before a worker starts; `protonova topics` shows what the broker has, `--repair` mends it. All use the\n"
        "broker's append time. In fink's form a detection's key is its schema; the object chooses the partition in every form\n"
        "(clients.md).\n\n"
        + grid(("topic", "key", "value", "partitions", "kept", "largest record [bytes]"), rows)
        + "\n## Headers of every output\n\n"
        + grid(
            ("header", "meaning"),
            (
                ("`traceparent`", "W3C trace context: the input's trace, a span of ours"),
                ("`ingested_at`", "the input's append time [ms since 1970]; the output's own append time minus this is the latency"),
                ("`scored_at`", "when it was scored [ms since 1970]"),
                ("`survey`", "of the packet; on `alerts.rejected` only where it was recognised"),
                ("`candid`, `programid`", "of the packet; not on `alerts.rejected`"),
                ("`revision`", "`1`: the same candid came before with other bytes"),
                ("`_test`, `alert_tense`", "passed on from the input: not of the sky, or of another night"),
                ("`_format`", "`avro` on a topic of object containers, `json` on one of JSON (clients.md); else it is not there"),
                (
                    "`reason`, `error_class`, `topic`, `partition`, `offset`, `attempt`",
                    "on `alerts.rejected`: why, and where it came from",
                ),
                (
                    "`size`, `complete`",
                    "on `alerts.rejected`: bytes of the packet, and whether the value is all of them; `false`: it is "
                    "their sha256 (32 bytes) and the first 65,536",
                ),
            ),
        )
    )


def detection() -> str:
    """The page docs/detection.md."""
    schema = json.loads(latest("detections-value").schema_text)
    rows = [(f"`{field['name']}`", f"`{_type(field['type'])}`", field.get("doc", "")) for field in schema["fields"]]
    ids = [(f"`{s.subject}`", s.id, s.version) for s in TABLE]
    return (
        f"# The Detection\n\n{schema.get('doc', '')}\n\nAvro in Confluent's framing (0x00, schema id, body), or whatever form the settings "
        "name for a topic (clients.md).\n\n"
        + grid(("field", "type", "meaning, unit"), rows)
        + "\n## Schema ids\n\nFixed for ever; the status service answers them by Confluent's registry API, read-only.\n\n"
        + grid(("subject", "id", "version"), ids)
    )


def _type(declared: Any) -> str:
    if isinstance(declared, str):
        return declared
    if isinstance(declared, list):
        return " or ".join(_type(branch) for branch in declared)
    if declared["type"] == "array":
        return f"array of {_type(declared['items'])}"
    if declared["type"] == "record":
        return str(declared["name"]) + " {" + ", ".join(f"{f['name']}: {_type(f['type'])}" for f in declared["fields"]) + "}"
    return str(declared["type"])


def classes() -> str:
    """The page docs/classes.md."""
    rows = [(f"`{c.slug}`", c.title, *(("–" if name is None else name) for name in (c.alerce, c.fink, c.tns, c.elasticc))) for c in CLASSES]
    return (
        f"# Classes\n\nTaxonomy `{TAXONOMY}`, with what other brokers call the same; the next wider name where a broker has none so "
        "narrow. `other` takes the probability that belongs to none.\n\n"
        + grid(("class", "meaning", "ALeRCE", "Fink", "TNS", "ELAsTiCC"), rows)
    )


def labels() -> str:
    """The page docs/labels.md."""
    groups = {group: [slug for slug, own in GROUP_OF.items() if own == group] for group in GROUPS}
    meant = {"unknown": "the label does not say"}
    rows = [
        (f"`{name}`", what, f"`{slug}`" if slug else "none", meant.get(group, group)) for name, (slug, group, what) in OBJECT_TYPES.items()
    ]
    return (
        "# Labels\n\nWhat the labels of catalogues and spectra mean when real alerts are judged (`schemas/catalogue_labels.py`, "
        "`evaluation/real_alerts.py`).\nA label is one of our classes by any name in [classes.md](classes.md) (`LPV/AGB` and the like are "
        "what stands before the stroke), or\none of SIMBAD's object types below, after `other_var/` or alone. `Candidate_…`, "
        "`…_Candidate` and a question mark mark a candidate.\n\n"
        "- **Exact accuracy** counts alerts whose label is one of our classes beyond doubt.\n"
        "- **Coarse** compares groups: "
        + "; ".join(f"{group}: {', '.join(slugs)}" for group, slugs in groups.items())
        + ".\n- **Recall** of a class counts its candidates too.\n"
        "- **Precision** of a class counts every labelled alert that is called so: a label outside our classes is a false call, also where "
        "it\n  does not say what varies. Beside it stands the precision among labels that do say.\n\n"
        + grid(("object type", "what it is", "class of ours", "group"), rows)
        + "\n## Spectral subtypes\n\n"
        + grid(("label, in small letters", "class"), ((f"`{pattern}`", f"`{slug}`") for pattern, slug in SUBTYPES))
    )


def filter_fields() -> str:
    """The page docs/filter-fields.md."""
    rows = [(f"`{f.name}`", f.kind, f.unit or "–", f.meaning) for f in FIELDS]
    rows.append(("`p_<class>`, as in `p_sn_ia`", "number", "1", "balanced probability of a class (classes.md), `other` or a taught one"))
    rows.append(("`prior_<class>`", "number", "1", "its probability under the stream's frequencies"))
    return (
        "# What a filter may ask of a detection\n\nThe fields of filters and of `GET /v1/stream` (filters.md). A field that a detection "
        "does not have is null.\n\n"
        + grid(("field", "kind", "unit", "meaning"), rows)
        + "\n## Named features of the light curve\n\nOf points below 5,600 Å (blue) and above (red), by the definitions and in the units "
        "of `operators/features.py`:\n" + ", ".join(f"`{name}`" for name in FEATURES) + ".\n"
    )


PAGES = {
    "filter-fields.md": filter_fields,
    "settings.md": settings,
    "topics.md": topics,
    "detection.md": detection,
    "classes.md": classes,
    "labels.md": labels,
}


def json_schema() -> str:
    """The file that `schemas.records.json_form.FILE` names."""
    return json.dumps(json_form.json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (json_form.HERE / json_form.FILE).write_text(json_schema(), encoding="utf-8")
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")
