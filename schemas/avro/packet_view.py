"""A packet of any kind → what a person can read of it, as JSON.

``python -m schemas.avro.packet_view < PACKET``

It decodes with a general reader and hostile bytes, so it runs as a process of its own, with bounds on time and memory.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import fastavro

from schemas.avro.schema_store import SchemaStore
from schemas.avro.wire import PacketError, read_body, read_header, sniff

SHOWN_ITEMS = 3
"""Items of an array that are shown; the rest is counted."""
SHOWN_TEXT = 300
SECONDS = 10
MEMORY = 2 << 30
"""Address space of the process [bytes]."""


def view(packet: bytes) -> dict[str, Any]:
    """Decode what can be decoded.

    Parameters
    ----------
    packet : bytes

    Returns
    -------
    dict
        ``form``, and by form ``codec``, ``schema_id``, ``schema``, ``record``; ``stopped_at`` says why it ends early.
    """
    form = sniff(packet)
    out: dict[str, Any] = {"bytes": len(packet), "form": form or "neither an Avro container nor a framed packet"}
    try:
        if form == "container":
            codec, text, at = read_header(packet)
            schema = json.loads(text)
            out |= {"codec": codec, "schema": _name(schema)}
            data, start, end = read_body(packet, at, codec=codec)
            out["record"] = _shown(fastavro.schemaless_reader(io.BytesIO(data[start:end]), fastavro.parse_schema(schema), None))
        elif form == "framed":
            number = int.from_bytes(packet[1:5], "big")
            out["schema_id"] = number
            schema = SchemaStore().get(number)
            out["schema"] = _name(schema)
            out["record"] = _shown(fastavro.schemaless_reader(io.BytesIO(packet[5:]), fastavro.parse_schema(schema), None))
        else:
            out["begins"] = repr(packet[:64])
    except PacketError as error:
        out["stopped_at"] = f"{error.error_class}: {error.reason}"
    except Exception as error:  # a general reader of damaged bytes raises whatever it falls over
        out["stopped_at"] = f"{type(error).__name__}: {str(error)[:200]}"
    return out


def bounded_view(packet: bytes) -> dict[str, Any]:
    """The same in a process of its own, ended after `SECONDS` and above `MEMORY`."""
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_AS, ({MEMORY}, {MEMORY})); r.setrlimit(r.RLIMIT_CPU, ({SECONDS}, {SECONDS}))"
    code = f"{limit if sys.platform != 'win32' else ''}\nfrom schemas.avro.packet_view import main; main()"
    try:
        done = subprocess.run([sys.executable, "-c", code], input=packet, capture_output=True, timeout=2 * SECONDS, check=False)
        if done.returncode == 0:
            return dict(json.loads(done.stdout))
        why = f"the decoder ended with status {done.returncode}"
    except subprocess.TimeoutExpired:
        why = f"decoding took longer than {2 * SECONDS} s"
    except ValueError:
        why = "the decoder's answer cannot be read"
    return {"bytes": len(packet), "form": sniff(packet) or "unknown", "stopped_at": why}


def _name(schema: Any) -> str:
    return str(schema.get("name", "?")) if isinstance(schema, dict) else "?"


def _shown(value: Any) -> Any:
    """The same with bytes, long arrays and long texts cut short, and no control characters."""
    if isinstance(value, dict):
        return {_text(name): _shown(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_shown(item) for item in value[:SHOWN_ITEMS]]
        return items if len(value) <= SHOWN_ITEMS else [*items, f"… {len(value) - SHOWN_ITEMS:,} more"]
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value):,} bytes>"
    if isinstance(value, str):
        return _text(value)
    return value if value is None or isinstance(value, (bool, int, float)) else _text(str(value))


def _text(value: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in value)
    return plain if len(plain) <= SHOWN_TEXT else plain[:SHOWN_TEXT] + "…"


def main() -> None:
    """Read a packet from standard input and print its view."""
    print(json.dumps(view(sys.stdin.buffer.read()), default=str))


if __name__ == "__main__":
    main()
