"""Nothing that came half, or wrong, is ever taken for whole; what was cut off goes on."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.connectors.web.digests import Digest, from_headers, from_list
from data.connectors.web.download import Downloader, Fetched, Origin, Remote, Verdict
from data.connectors.web.faults import FetchError, Passing, public_url
from data.connectors.web.holdings import Holdings, safe_name
from data.connectors.web.http_client import HttpClient, Request, check_url
from data.connectors.web.throttle import Clock, Patience, Throttle, retry_after
from errors import UserError
from tests.data.archive_server import ArchiveServer, Step

BODY = os.urandom(700_000)
OTHER = os.urandom(700_000)
PATH = "/f.bin"
ORIGIN = Origin("test", "test f", "none")


class FakeTime:
    """A clock that sleeps at once and remembers for how long."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep, lambda: datetime(2026, 11, 30, tzinfo=UTC), lambda: 0.5)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with ArchiveServer({PATH: BODY}) as server:
        yield server


Get = Callable[..., Fetched]


@pytest.fixture
def get(server: ArchiveServer, tmp_path: Path) -> Get:
    """Fetches the file into tmp_path/f, as one command does."""

    def get(
        *, check: Callable[[Path, Remote], Verdict] = lambda path, remote: Verdict(True), again: bool = False, **fields: object
    ) -> Fetched:
        time = FakeTime()
        with Holdings(tmp_path / "f") as holdings, HttpClient(time.clock(), per_second=1e9) as client:
            remote = Remote(**{"asked": Request(server.url + PATH), "name": "f.bin", "kind": "any", **fields})  # type: ignore[arg-type]
            done = Downloader(client, holdings, origin=ORIGIN, check=check).fetch(remote, again=again)
            holdings.write_manifest()
        get.slept = time.slept  # type: ignore[attr-defined]
        return done

    return get


def lines(folder: Path, name: str = "fetched.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def whole(folder: Path, body: bytes = BODY) -> bool:
    """The file is there as it should be, and nothing else is."""
    left = {p.name for p in folder.iterdir()}
    return (folder / "f.bin").read_bytes() == body and left == {"f.bin", "fetched.jsonl", "manifest.json"}


def test_a_file_comes_whole_with_its_line_and_a_second_run_asks_nothing(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    done = get()
    assert (done.state, done.reason) == ("fetched", "")
    assert whole(tmp_path / "f")
    (line,) = lines(tmp_path / "f")
    assert line["sha256"] == hashlib.sha256(BODY).hexdigest()
    assert (line["size"], line["verified"], line["query"], line["licence"]) == (len(BODY), "length", "test f", "none")
    assert json.loads((tmp_path / "f" / "manifest.json").read_text())["files"]["f.bin"]["sha256"] == line["sha256"]
    asked = len(server.asked)
    assert get().state == "kept"
    assert len(server.asked) == asked
    assert len(lines(tmp_path / "f")) == 1


@pytest.mark.parametrize("harm", [lambda b: b[:-1], lambda b: b[:100] + b"\0\0" + b[102:], lambda b: b""])
def test_a_file_that_was_harmed_here_is_fetched_again(get: Get, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    get()
    path = tmp_path / "f" / "f.bin"
    path.write_bytes(harm(BODY))
    assert get().state == "fetched"
    assert whole(tmp_path / "f")


def test_a_cut_off_download_goes_on_by_range(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.script[PATH].extend([Step(cut=300_000), Step(cut=200_000)])
    assert get().state == "fetched"
    assert whole(tmp_path / "f")
    ranges = [asked.headers.get("Range") for asked in server.requests(PATH)]
    assert ranges[0] is None
    assert ranges[1:] == ["bytes=300000-", "bytes=500000-"]
    assert server.requests(PATH)[1].headers["If-Range"] == server.requests(PATH)[2].headers["If-Range"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changed_in_between_is_fetched_anew(get: Get, server: ArchiveServer, tmp_path: Path, ranges: bool) -> None:
    server.script[PATH].extend([Step(cut=300_000), Step(body=OTHER, ranges=ranges), Step(body=OTHER)])
    assert get().state == "fetched"
    assert whole(tmp_path / "f", OTHER)


def test_a_server_that_ignores_if_range_is_caught_by_its_etag(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.files[PATH] = BODY
    changed = {"Content-Range": f"bytes 300000-{len(OTHER) - 1}/{len(OTHER)}"}
    server.script[PATH].extend(
        [Step(cut=300_000), Step(status=206, headers=changed, body=OTHER[300_000:], etag='"2"'), Step(body=OTHER, etag='"2"')]
    )
    assert get().state == "fetched"
    assert whole(tmp_path / "f", OTHER)


def test_without_validator_or_checksum_nothing_is_gone_on_from(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.always[PATH] = Step(etag='W/"weak"')
    server.script[PATH].append(Step(cut=300_000, etag='W/"weak"'))
    assert get().state == "fetched"
    assert whole(tmp_path / "f")
    assert server.requests(PATH)[1].headers.get("Range") is None


def test_a_checksum_alone_lets_it_go_on(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.always[PATH] = Step(etag='W/"weak"')
    server.script[PATH].append(Step(cut=300_000, etag='W/"weak"'))
    assert get(digest=Digest("md5", hashlib.md5(BODY).hexdigest())).state == "fetched"
    assert whole(tmp_path / "f")
    assert server.requests(PATH)[1].headers["Range"] == "bytes=300000-"
    assert lines(tmp_path / "f")[0]["verified"] == "md5"


@pytest.mark.parametrize("header", ["Repr-Digest", "Digest", "Content-MD5", "x-goog-hash", "x-amz-checksum-sha256"])
def test_a_body_that_does_not_match_its_header_is_refused_and_fetched_again(
    get: Get, server: ArchiveServer, tmp_path: Path, header: str
) -> None:
    sha, md5 = (base64.b64encode(hashlib.new(n, BODY).digest()).decode() for n in ("sha256", "md5"))
    form = {"Repr-Digest": f"sha-256=:{sha}:", "Digest": f"SHA-256={sha}", "Content-MD5": md5, "x-goog-hash": f"crc32c=n03x6A==,md5={md5}",
            "x-amz-checksum-sha256": sha}  # fmt: skip
    server.always[PATH] = Step(headers={header: form[header]})
    server.script[PATH].append(Step(body=OTHER, headers={header: form[header]}))
    done = get()
    assert done.state == "fetched"
    assert whole(tmp_path / "f")
    assert len(server.requests(PATH)) == 2
    assert done.record is not None
    assert done.record.verified in ("sha256", "md5")


def test_a_file_that_never_matches_is_given_up_and_not_there(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    done = get(digest=Digest("md5", "0" * 32))
    assert done.state == "failed"
    assert "does not match its checksum (md5" in done.reason
    assert len(server.requests(PATH)) == 3
    assert not (tmp_path / "f" / "f.bin").exists()
    assert not (tmp_path / "f" / "f.bin.part").exists()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_waited_for(get: Get, server: ArchiveServer, tmp_path: Path, status: int) -> None:
    server.script[PATH].extend(
        [Step(status, {"Retry-After": "7"}, b""), Step(status, {"Retry-After": "Mon, 30 Nov 2026 00:00:20 GMT"}, b"")]
    )
    assert get().state == "fetched"
    assert whole(tmp_path / "f")
    assert [s for s in get.slept if s > 1] == [7.5, 20.5]  # type: ignore[attr-defined]


def test_a_wait_of_hours_is_left_to_the_caller(get: Get, server: ArchiveServer) -> None:
    server.script[PATH].append(Step(429, {"Retry-After": "7200"}, b""))
    done = get()
    assert done.state == "failed"
    assert "7,200 s" in done.reason
    assert len(server.requests(PATH)) == 1


def test_a_server_that_stays_down_is_given_up_with_growing_waits(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.always[PATH] = Step(503, {}, b"")
    done = get()
    assert done.state == "failed"
    assert "given up after 6 attempts" in done.reason
    slept = get.slept  # type: ignore[attr-defined]
    assert slept == sorted(slept)
    assert len(slept) >= 5


def test_what_came_before_a_server_went_down_is_gone_on_from_by_the_next_command(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.script[PATH].append(Step(cut=400_000))
    server.always[PATH] = Step(503, {}, b"")
    assert get().state == "failed"
    server.always.clear()
    assert get().state == "fetched"
    assert whole(tmp_path / "f")
    assert server.requests(PATH)[-1].headers["Range"] == "bytes=400000-"


def test_a_server_that_always_breaks_off_ends_after_some_attempts(get: Get, server: ArchiveServer) -> None:
    server.always[PATH] = Step(cut=300_000, ranges=False)
    assert get().state == "failed"
    assert len(server.requests(PATH)) <= 8


def test_a_web_page_is_not_data(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html><head><title>Down for \x1b[31mmaintenance</title></head>"
    server.always[PATH] = Step(body=page, headers={"Content-Type": "text/html"})
    done = get()
    assert done.state == "failed"
    assert "web page" in done.reason
    assert "maintenance" in done.reason
    assert "\x1b" not in done.reason
    assert [p.name for p in (tmp_path / "f").iterdir() if p.suffix == ".bin"] == []
    server.always.clear()
    assert get().state == "fetched"
    assert whole(tmp_path / "f")


def test_a_body_whose_end_nothing_shows_is_fetched_until_two_are_equal(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.always[PATH] = Step(length=False, ranges=False)
    server.script[PATH].append(Step(length=False, cut=100_000))
    assert get().state == "fetched"
    assert whole(tmp_path / "f")
    assert len(server.requests(PATH)) == 3
    assert lines(tmp_path / "f")[0]["verified"] == "second download"


@pytest.mark.parametrize("cut", [None, 300_000])
def test_a_chunked_body_ends_by_its_last_chunk(get: Get, server: ArchiveServer, tmp_path: Path, cut: int | None) -> None:
    server.always[PATH] = Step(chunked=True)
    server.script[PATH].append(Step(chunked=True, cut=cut))
    assert get().state == "fetched"
    assert whole(tmp_path / "f")
    assert len(server.requests(PATH)) == (1 if cut is None else 2)


def test_more_than_is_taken_is_refused_before_and_while_it_comes(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    assert "more than the 1,000" in get(most=1_000).reason
    server.always[PATH] = Step(length=False, ranges=False)
    assert "more than 1,000" in get(most=1_000).reason
    assert not (tmp_path / "f" / "f.bin").exists()


def test_an_encoding_that_was_not_asked_for_is_refused(get: Get, server: ArchiveServer) -> None:
    server.always[PATH] = Step(headers={"Content-Encoding": "gzip"})
    assert "gzip" in get().reason


def test_what_cannot_be_used_is_fetched_again_and_then_put_aside_with_the_reason(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    done = get(check=lambda path, remote: Verdict(False, "no column mag"))
    assert (done.state, done.reason) == ("rejected", "no column mag")
    assert len(server.requests(PATH)) == 2
    folder = tmp_path / "f"
    assert not (folder / "f.bin").exists()
    assert (folder / "rejected" / "f.bin").read_bytes() == BODY
    assert lines(folder, "rejected.jsonl")[0]["reason"] == "no column mag"
    assert get().state == "fetched"


def test_harm_on_the_way_that_only_the_contents_show_is_fetched_again(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.script[PATH].append(Step(body=OTHER))
    assert get(check=lambda path, remote: Verdict(path.read_bytes() == BODY, "damaged")).state == "fetched"
    assert whole(tmp_path / "f")


def test_a_crash_between_the_line_and_the_name_costs_no_byte_and_no_second_line(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    get()
    folder = tmp_path / "f"
    (folder / "f.bin").rename(folder / "f.bin.part")
    notes = {"url": server.url + PATH, "etag": '"x"', "size": len(BODY), "flushed": len(BODY)}
    (folder / "f.bin.part.json").write_text(json.dumps(notes))
    before = len(server.asked)
    assert get().state == "fetched"
    assert len(server.asked) == before
    assert whole(folder)


def test_after_a_crash_of_the_machine_only_what_was_flushed_counts(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    server.script[PATH].append(Step(cut=400_000))
    server.always[PATH] = Step(503, {}, b"")
    get()
    folder = tmp_path / "f"
    notes = json.loads((folder / "f.bin.part.json").read_text())
    (folder / "f.bin.part.json").write_text(json.dumps({**notes, "boot": "another", "flushed": 1000}))
    part = bytearray((folder / "f.bin.part").read_bytes())
    part[1000:] = bytes(len(part) - 1000)  # what a file system may leave behind
    (folder / "f.bin.part").write_bytes(part)
    server.always.clear()
    assert get().state == "fetched"
    assert whole(folder)


@pytest.mark.parametrize("notes", ["", "{", "[]", '{"url": 3}', '{"what": 1}'])
def test_damaged_notes_of_a_part_begin_it_anew(get: Get, server: ArchiveServer, tmp_path: Path, notes: str) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "f.bin.part").write_bytes(b"something else")
    (folder / "f.bin.part.json").write_text(notes)
    assert get().state == "fetched"
    assert whole(folder)


def test_a_line_that_a_crash_cut_short_is_passed_over(get: Get, tmp_path: Path) -> None:
    get()
    path = tmp_path / "f" / "fetched.jsonl"
    path.write_bytes(path.read_bytes() + b'{"name": "g.bin", "si')
    assert get().state == "kept"
    assert get(again=True, name="h.bin").state == "fetched"
    assert json.loads(path.read_text().splitlines()[-1])["name"] == "h.bin"


def test_a_file_of_the_users_is_not_written_over(get: Get, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "f.bin").write_text("mine")
    assert "was not fetched by this command" in get().reason
    assert (tmp_path / "f" / "f.bin").read_text() == "mine"


def test_a_link_planted_in_the_folder_is_not_followed(get: Get, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "f" / "f.bin.part").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        get()
    assert victim.read_text() == "mine"


def test_two_commands_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with Holdings(tmp_path), pytest.raises(UserError, match="another command"):
        Holdings(tmp_path)
    with Holdings(tmp_path):
        pass


@pytest.mark.parametrize(
    "name",
    [
        "../f",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "a\0b",
        "x" * 300,
        "manifest.json",
        "FETCHED.jsonl",
        "f.part",
        "a b",
        "-rf",
    ],
)
def test_a_name_with_a_way_out_of_the_folder_is_refused(get: Get, tmp_path: Path, name: str) -> None:
    with pytest.raises(FetchError):
        safe_name(name)
    assert get(name=name).state == "failed"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "https://", "nonsense", "http://10.0.0.1/"]
)
def test_only_https_is_asked_but_for_loopback(url: str) -> None:
    with pytest.raises(FetchError):
        check_url(url)
    for fine in ("https://example.org/x", "http://127.0.0.1:8/x", "http://[::1]:8/x", "http://localhost/x"):
        check_url(fine)


def test_a_redirect_is_held_to_the_same_rule(get: Get, server: ArchiveServer) -> None:
    with pytest.raises(FetchError, match="this machine"):
        check_url("http://127.0.0.1/x", before="https://example.org/")
    server.script[PATH].append(Step(302, {"Location": "http://example.org/f"}, b""))
    assert "https only" in get().reason
    server.files["/g"] = BODY
    server.script[PATH].append(Step(302, {"Location": "/g"}, b""))
    assert get().state == "fetched"
    server.always["/g"] = Step(302, {"Location": "/g"}, b"")
    server.script[PATH].append(Step(302, {"Location": "/g"}, b""))
    assert "redirects" in get(again=True).reason


def test_no_credential_reaches_a_line_or_a_message(get: Get, server: ArchiveServer, tmp_path: Path) -> None:
    url = server.url.replace("http://", "http://user:hunter2@") + PATH + "?uri=a&token=hunter2&api_key=hunter2&X-Amz-Signature=hunter2"
    asked = Request(url, headers={"Authorization": "Token hunter2"})
    assert "hunter2" not in repr(Remote(asked, "f", "any")).replace(url, "")
    assert get(asked=asked).state == "fetched"
    everything = b"".join(p.read_bytes() for p in (tmp_path / "f").iterdir() if p.name != "f.bin")
    assert b"hunter2" not in everything
    assert b"uri=a" in everything
    server.always[PATH] = Step(404, {}, b"")
    assert "hunter2" not in get(asked=asked, again=True).reason
    server.always[PATH] = Step(401, {}, b"")
    assert "token" in get(asked=asked, again=True).reason


def test_public_urls_keep_what_a_query_is() -> None:
    assert public_url("https://a.b/c?key=1&keyword=2&POS=CIRCLE+1+2#x") == "https://a.b/c?keyword=2&POS=CIRCLE+1+2"


def test_nothing_there_is_said(get: Get, server: ArchiveServer) -> None:
    del server.files[PATH]
    assert get().reason.endswith("is not there (404)")
    assert len(server.requests(PATH)) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), (" 0 ", 0.0), ("Mon, 30 Nov 2026 00:01:00 GMT", 60.0), ("Sun, 29 Nov 2026 00:00:00 GMT", 0.0), (None, None),
     ("soon", None), ("-5", None), ("9" * 30, None), ("", None), ("Mon, 99 Nov", None)],
)  # fmt: skip
def test_retry_after_is_read_as_the_standard_has_it(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, datetime(2026, 11, 30, tzinfo=UTC)) == seconds


def test_each_host_has_its_own_rate() -> None:
    time = FakeTime()
    throttle = Throttle(time.clock(), per_second=2.0)
    for host in ("a", "b", "a", "a"):
        throttle.wait(host)
    assert time.slept == [0.5, 0.5]


def test_patience_ends_however_often_there_is_progress_when_the_fault_has_its_own_limit() -> None:
    patience, fault = Patience(FakeTime().clock()), Passing("x", most=3, kind="corrupt")
    patience.after(fault, progress=True)
    patience.after(fault, progress=True)
    with pytest.raises(FetchError, match="after 3 attempts"):
        patience.after(fault, progress=True)


def test_lists_of_checksums_are_read_as_md5sum_and_sha256sum_write_them() -> None:
    text = f"# c\n{'a' * 32}  ./ztf_public_20240617.tar.gz\n{'B' * 64} *x.fits\r\n\nnot a line\n{'c' * 31}  short\n"
    assert from_list(text) == {"ztf_public_20240617.tar.gz": Digest("md5", "a" * 32), "x.fits": Digest("sha256", "b" * 64)}


@pytest.mark.parametrize("value", ["", "!!", "sha-256=:short:", "sha-256=:" + "A" * 43 + ":"])
def test_a_header_that_holds_no_checksum_is_passed_over(value: str) -> None:
    assert from_headers({"repr-digest": value}, whole=True) is None
