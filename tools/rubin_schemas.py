"""Write ``<id>.json`` from a checkout of Rubin's alert schemas: `python -m tools.rubin_schemas FOLDER [OUT]`.

Only names, types and null defaults are kept; the documentation stays where it is published
(https://github.com/lsst/alert_packet, and https://sdm-schemas.lsst.io/apdb.html).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import fastavro.schema

_ALERT = re.compile(r"lsst\.v(\d+)_(\d+)\.alert\.avsc")
_KEPT = ("type", "name", "namespace", "items", "values", "symbols", "size", "logicalType", "precision", "scale")


def strip(schema: Any) -> Any:
    """A schema without documentation, aliases and defaults other than null."""
    if isinstance(schema, list):
        return [strip(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: strip(schema[key]) if key in ("type", "items", "values") else schema[key] for key in _KEPT if key in schema}
    if "fields" in schema:
        kept["fields"] = [strip(field) for field in schema["fields"]]
    if "default" in schema and schema["default"] is None:
        kept["default"] = None
    return kept


def build(folder: Path, out: Path) -> list[int]:
    """Strip every alert schema below a folder; the ids written."""
    ids = []
    for path in sorted(folder.rglob("lsst.v*.alert.avsc")):
        match = _ALERT.fullmatch(path.name)
        if match is None:
            continue
        schema_id = 100 * int(match[1]) + int(match[2])
        schema = strip(fastavro.schema.load_schema(str(path)))
        (out / f"{schema_id}.json").write_text(json.dumps(schema, separators=(",", ":")) + "\n", encoding="utf-8")
        ids.append(schema_id)
    return ids


def main() -> int:
    """Run as a command."""
    if len(sys.argv) not in (2, 3) or not Path(sys.argv[1]).is_dir():
        sys.stderr.write("usage: python -m tools.rubin_schemas FOLDER [OUT]\n")
        return 2
    ids = build(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parents[1] / "schemas" / "surveys" / "rubin")
    sys.stdout.write(f"{len(ids)} schemas: {', '.join(map(str, ids))}\n")
    return 0 if ids else 1


if __name__ == "__main__":
    raise SystemExit(main())
