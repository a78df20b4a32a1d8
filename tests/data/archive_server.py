"""A small archive on loopback for tests: files with ETag and ranges, answers after the archives' documentation, and faults on request.

    python -m tests.data.archive_server FOLDER [--port 8700] [--pause S] [--corrupt NAME]

serves a folder's files with their MD5SUMS, as the archive of ZTF's nights does (docs/fetch.md has what to try with it).
"""

from __future__ import annotations

import argparse
import hashlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """How one request to a path is answered; the default is as an honest server would."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Instead of the file's own."""
    cut: int | None = None
    """Bytes after which the connection is closed."""
    ranges: bool = True
    length: bool = True
    """Announce the length; without it the body ends when the connection does, or is chunked."""
    chunked: bool = False
    etag: str | None = None
    pause: float = 0.0
    """[s] between pieces of 64 kB."""


HONEST = Step()
Answer = bytes | Callable[["Asked"], bytes]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class ArchiveServer:
    """Serves `files` (path → bytes, or a function of the request); `script[path]` holds the steps of the next requests."""

    def __init__(self, files: Mapping[str, Answer], *, port: int = 0) -> None:
        self.files = dict(files)
        self.script: dict[str, deque[Step]] = defaultdict(deque)
        self.always: dict[str, Step] = {}
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                outer._answer(self)

            do_POST = do_GET

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> ArchiveServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def requests(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        sent = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        asked = Asked(handler.command, path, query, dict(handler.headers), sent)
        self.asked.append(asked)
        step = self.script[path].popleft() if self.script[path] else self.always.get(path, HONEST)
        file = self.files.get(path)
        if file is None and step.body is None and step.status == 200:
            step = Step(status=404, body=b"no such file")
        body = step.body if step.body is not None else file(asked) if callable(file) else file or b""
        etag = step.etag or f'"{hashlib.sha1(body).hexdigest()}"'
        status, headers = step.status, {"Content-Type": "application/octet-stream", "ETag": etag, **step.headers}
        wanted = asked.headers.get("Range")
        if status == 200 and wanted and step.ranges and asked.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
            else:
                status, headers["Content-Range"] = 206, f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
        handler.send_response(status)
        if step.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif step.length:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        out = body if step.cut is None else body[: step.cut]
        for at in range(0, len(out), 65_536):
            piece = out[at : at + 65_536]
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if step.chunked else piece)
            handler.wfile.flush()
            time.sleep(step.pause)
        if step.chunked and step.cut is None:
            handler.wfile.write(b"0\r\n\r\n")
        if step.cut is not None or not step.length:
            handler.close_connection = True


def main() -> None:
    """Run the program; see the module's docstring."""
    parser = argparse.ArgumentParser(description="an archive on loopback")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--pause", type=float, default=0.0, help="between pieces of 64 kB [s]")
    parser.add_argument("--corrupt", default="", metavar="NAME", help="a file whose first answer has its last bytes turned")
    arguments = parser.parse_args()
    files = {f"/{path.name}": path.read_bytes() for path in sorted(arguments.folder.iterdir()) if path.is_file()}
    sums = "".join(f"{hashlib.md5(body).hexdigest()}  {name[1:]}\n" for name, body in files.items())
    with ArchiveServer({**files, "/MD5SUMS": sums.encode()}, port=arguments.port) as server:
        for name, body in files.items():
            server.always[name] = Step(pause=arguments.pause)
            if name[1:] == arguments.corrupt:
                server.script[name].append(Step(body=body[:-9] + bytes(9), pause=arguments.pause))
        print(f"{len(files)} files at {server.url}; Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
