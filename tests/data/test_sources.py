"""Each archive's own forms, as its documentation has them, through the whole way from a query to checked files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from data.connectors.archives import Packet, packets_of
from data.connectors.web.download import Fetched
from data.connectors.web.faults import FetchError, NotThereError
from data.connectors.web.fetch_query import fetch
from data.connectors.web.source_query import parse
from data.connectors.web.source_table import SOURCES
from data.connectors.web.throttle import Clock
from data.simulate.night import night
from errors import UserError
from tests.data.archive_server import ArchiveServer, Asked, Step

CLOCK = Clock(lambda: 0.0, lambda seconds: None, lambda: datetime(2026, 11, 30, tzinfo=UTC), lambda: 0.5)


def ask(
    server: ArchiveServer, folder: Path, source: str, *words: str, base: str = "", token: str | None = None, **how: Any
) -> list[Fetched]:
    query = parse(source, words, keys=SOURCES[source].keys, base=server.url + base, token=token)
    return list(fetch(query, folder, clock=CLOCK, **how))


def reasons(files: Sequence[Fetched]) -> list[tuple[str, str]]:
    return [(file.state, file.reason) for file in files]


# Nights of ZTF


def tar(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def packets() -> list[bytes]:
    return [packet for packet, _ in night(9, 6, duplicates=0, broken=0)]


NIGHTS = ("20240617", "20240619")


@pytest.fixture
def uw(packets: list[bytes]) -> Iterator[ArchiveServer]:
    files = {
        f"/alerts/public/ztf_public_{n}.tar.gz": tar({f"{k}.avro": p for k, p in enumerate(packets[i::2])}) for i, n in enumerate(NIGHTS)
    }
    sums = "".join(f"{hashlib.md5(body).hexdigest()}  {path.rpartition('/')[2]}\n" for path, body in files.items())
    with ArchiveServer({**files, "/alerts/public/MD5SUMS": sums.encode()}) as server:
        yield server


def test_a_night_is_verified_by_the_archives_md5_and_gives_its_packets(uw: ArchiveServer, packets: list[bytes], tmp_path: Path) -> None:
    (file,) = ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public/")
    assert file.state == "fetched"
    assert file.record is not None
    assert (file.record.verified, file.record.rows, file.record.rejects) == ("md5", 3, {})
    assert file.path is not None
    assert [i.packet for i in packets_of([file.path]) if isinstance(i, Packet)] == packets[0::2]


def test_a_range_of_nights_leaves_out_those_without_alerts(uw: ArchiveServer, tmp_path: Path) -> None:
    files = ask(uw, tmp_path, "ztf-nights", "20240616..20240620", base="/alerts/public")
    assert [file.remote.name for file in files] == [f"ztf_public_{n}.tar.gz" for n in NIGHTS]
    (again,) = ask(uw, tmp_path, "ztf-nights", "20240619", base="/alerts/public")
    assert again.state == "kept"


def test_a_night_that_is_not_there_is_refused_with_its_neighbours(uw: ArchiveServer, tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="20240617, 20240619"):
        ask(uw, tmp_path, "ztf-nights", "20240618", base="/alerts/public")


def test_a_corrupt_night_is_refused_and_fetched_again(uw: ArchiveServer, tmp_path: Path) -> None:
    path = "/alerts/public/ztf_public_20240617.tar.gz"
    body = uw.files[path]
    assert isinstance(body, bytes)
    uw.script[path].append(Step(body=body[:-20] + bytes(20)))
    (file,) = ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public")
    assert file.state == "fetched"
    assert len(uw.requests(path)) == 2


def test_a_night_that_the_archive_replaced_is_fetched_again(uw: ArchiveServer, packets: list[bytes], tmp_path: Path) -> None:
    ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public")
    body = tar({"x.avro": packets[0]})
    uw.files["/alerts/public/ztf_public_20240617.tar.gz"] = body
    uw.files["/alerts/public/MD5SUMS"] = f"{hashlib.md5(body).hexdigest()}  ztf_public_20240617.tar.gz\n".encode()
    (file,) = ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public")
    assert file.state == "fetched"
    assert file.path is not None
    assert file.path.read_bytes() == body


def test_a_night_without_packets_is_rejected(uw: ArchiveServer, tmp_path: Path) -> None:
    body = tar({"readme.txt": b"no alerts here " * 200, "b.csv": b"a,b\n1,2\n" * 500})
    uw.files["/alerts/public/ztf_public_20240617.tar.gz"] = body
    uw.files["/alerts/public/MD5SUMS"] = f"{hashlib.md5(body).hexdigest()}  ztf_public_20240617.tar.gz\n".encode()
    (file,) = ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public")
    assert file.state == "rejected"
    assert "no packet" in file.reason
    assert not (tmp_path / "ztf_public_20240617.tar.gz").exists()


def test_a_list_that_changed_its_form_is_said(uw: ArchiveServer, tmp_path: Path) -> None:
    uw.files["/alerts/public/MD5SUMS"] = b'{"files": []}'
    with pytest.raises(FetchError, match="form changed"):
        ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public")


def test_offline_gives_what_was_fetched_and_notices_harm(uw: ArchiveServer, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="without --offline"):
        ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public", offline=True)
    ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public")
    asked = len(uw.asked)
    (file,) = ask(uw, tmp_path, "ztf-nights", "20240617", base="/elsewhere", offline=True)
    assert file.state == "kept"
    (tmp_path / "ztf_public_20240617.tar.gz").write_bytes(b"x")
    (file,) = ask(uw, tmp_path, "ztf-nights", "20240617", base="/alerts/public", offline=True)
    assert file.state == "failed"
    assert len(uw.asked) == asked


# Light curves of IRSA

HEAD = (
    "oid,expid,hjd,mjd,mag,magerr,catflags,filtercode,ra,dec,chi,sharp,filefracday,field,ccdid,qid,limitmag,magzp,magzprms,clrcoeff,clrcounc,"
    "exptime,airmass,programid\n"
)
ROW = (
    "686103400067717,47135341,2458268.96,{mjd},{mag},0.014,0,{band},{ra},29.87147,0.9,-0.01,20180530465115,686,10,2,20.9,26.2,0.03,"
    "-0.03,4e-5,30,1.1,1\n"
)
POINT = {"mjd": 58268.46, "mag": 17.2, "band": "zg", "ra": 298.0025}
IRSA = "/cgi-bin/ZTF/nph_light_curves"


def curve(*rows: Mapping[str, Any]) -> bytes:
    return (HEAD + "".join(ROW.format(**{**POINT, **row}) for row in rows)).encode()


def test_a_light_curve_by_position_is_asked_as_irsa_documents(tmp_path: Path) -> None:
    with ArchiveServer({IRSA: curve({}, {"mjd": 58300.1})}) as server:
        (file,) = ask(server, tmp_path, "ztf-lightcurves", "298.0025,29.87147", "radius=5", "band=g,r")
        assert file.state == "fetched"
        assert file.record is not None
        assert file.record.rows == 2
        asked = parse_qs(server.asked[0].query)
        assert asked["BANDNAME"] == ["g,r"]
        assert asked["FORMAT"] == ["csv"]
        shape, ra, dec, radius = asked["POS"][0].split()
        assert (shape, float(ra), float(dec)) == ("CIRCLE", 298.0025, 29.87147)
        assert float(radius) == pytest.approx(5 / 3600, rel=1e-3)


@pytest.mark.parametrize(
    ("row", "why"),
    [({"mag": 99.0}, "mag is outside"), ({"mag": "nan"}, "mag is outside"), ({"mag": ""}, "mag is not a number"),
     ({"mjd": 2458268.9}, "mjd is outside"),
     ({"band": "zz"}, "filtercode is none of"), ({"ra": 299.0}, "farther away"), ({"ra": "1,2"}, "not a number")],
)  # fmt: skip
def test_rows_that_cannot_be_are_counted_and_the_file_stays_as_it_came(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    body = curve({}, row, {"mjd": 58300.1})
    with ArchiveServer({IRSA: body}) as server:
        (file,) = ask(server, tmp_path, "ztf-lightcurves", "298.0025,29.87147")
        assert file.record is not None
        assert file.record.rows == 3
        ((reason, count),) = file.record.rejects.items()
        assert why in reason
        assert count == 1
        assert file.path is not None
        assert file.path.read_bytes() == body
        server.files[IRSA] = curve(row)
        (file,) = ask(server, tmp_path / "b", "ztf-lightcurves", "298.0025,29.87147")
        assert file.state == "rejected"
        assert why in file.reason


@pytest.mark.parametrize(
    ("body", "why"),
    [(curve({}).replace(b"magerr", b"mag_err"), "no column magerr"), (b"", "no column oid"), (b"error: service down\n", "no column oid"),
     (b"\xff\xfe" + HEAD.encode(), "not a CSV"), (curve({}).replace(b",mjd,", b",mjd_utc,"), "no column mjd")],
)  # fmt: skip
def test_a_table_of_another_form_is_rejected_with_the_column(tmp_path: Path, body: bytes, why: str) -> None:
    with ArchiveServer({IRSA: body}) as server:
        (file,) = ask(server, tmp_path, "ztf-lightcurves", "298.0025,29.87147")
        assert file.state == "rejected"
        assert why in file.reason
        assert [p.name for p in (tmp_path / "rejected").iterdir()] == [file.remote.name]


def test_a_place_without_observations_is_an_answer(tmp_path: Path) -> None:
    with ArchiveServer({IRSA: HEAD.encode()}) as server:
        (file,) = ask(server, tmp_path, "ztf-lightcurves", "10,80")
        assert file.state == "fetched"
        assert file.record is not None
        assert file.record.rows == 0


# MAST


def fits(*, tic: int = 261136679, rename: tuple[str, str] | None = None, unit: str = "e-/s", pixels: bool = False) -> bytes:
    from astropy.io import fits as f

    times = np.arange(1325.3, 1335.3, 0.01)
    times[5] = np.nan
    shape = (len(times), 4, 4) if pixels else len(times)
    names = {"TIME": "TIME", "FLUX" if pixels else "PDCSAP_FLUX": "FLUX" if pixels else "PDCSAP_FLUX"}
    if rename is not None:
        names[rename[0]] = rename[1]
    time, flux = names.values()
    columns = [
        f.Column(time, "D", "BJD - 2457000, days", array=times),
        f.Column(flux, "16E" if pixels else "E", unit, dim="(4,4)" if pixels else None, array=np.ones(shape, np.float32)),
    ]
    primary = f.PrimaryHDU()
    primary.header["TICID"] = tic
    out = io.BytesIO()
    f.HDUList([primary, f.BinTableHDU.from_columns(columns, name="LIGHTCURVE")]).writeto(out, checksum=True)
    return out.getvalue()


class Mast:
    """Answers as https://mast.stsci.edu/api/v0/ documents: status, data, paging."""

    def __init__(self, files: Mapping[str, bytes], group: str, *, page: int = 2) -> None:
        self.files, self.group, self.page, self.busy = files, group, page, 1
        self.products: list[dict[str, Any]] = [
            {"obsID": "1", "dataURI": f"mast:TESS/product/{name}", "productFilename": name, "productSubGroupDescription": group,
             "size": len(body), "dataRights": "PUBLIC", "description": "Light curves"}
            for name, body in files.items()
        ]  # fmt: skip
        self.asked: list[dict[str, Any]] = []

    def invoke(self, asked: Asked) -> bytes:
        request = json.loads(parse_qs(asked.body.decode())["request"][0])
        self.asked.append(request)
        if self.busy:
            self.busy -= 1
            return b'{"status": "EXECUTING", "msg": ""}'
        rows = self.products if request["service"] == "Mast.Caom.Products" else [{"obsid": 17000 + k, "obs_id": f"o{k}"} for k in range(3)]
        start = (request["page"] - 1) * self.page
        pages = -(-len(rows) // self.page)
        paging = {"page": request["page"], "pageSize": self.page, "pagesFiltered": pages, "rowsTotal": len(rows)}
        return json.dumps(
            {"status": "COMPLETE", "msg": "", "data": rows[start : start + self.page], "fields": [], "paging": paging}
        ).encode()

    def download(self, asked: Asked) -> bytes:
        return self.files[parse_qs(asked.query)["uri"][0].rpartition("/")[2]]

    def server(self) -> ArchiveServer:
        return ArchiveServer({"/api/v0/invoke": self.invoke, "/api/v0.1/Download/file": self.download})


LC = "tess2018206045859-s0001-0000000261136679-0120-s_lc.fits"


def test_tess_light_curves_come_by_tic_and_sector_over_pages_and_polls(tmp_path: Path) -> None:
    pytest.importorskip("astropy")
    bodies = {LC.replace("s0001", f"s000{k}"): fits() for k in (1, 2, 3)}
    mast = Mast(bodies, "LC")
    mast.products += [{**mast.products[0], "productFilename": "x_dvt.fits", "productSubGroupDescription": "DVT"},
                      {**mast.products[0], "productFilename": "secret_lc.fits", "dataRights": "EXCLUSIVE_ACCESS"}]  # fmt: skip
    with mast.server() as server:
        files = ask(server, tmp_path, "tess", "tic=261136679", "sector=1")
        assert [(f.remote.name, f.state, f.reason) for f in files] == [(name, "fetched", "") for name in sorted(bodies)]
        assert [f.record.rejects for f in files if f.record] == [{"TIME is missing": 1}] * 3
        filters = {f["paramName"]: f["values"] for f in mast.asked[0]["params"]["filters"]}
        assert filters == {"obs_collection": ["TESS"], "dataproduct_type": ["timeseries"], "provenance_name": ["SPOC"],
                           "target_name": ["261136679"], "sequence_number": ["1"]}  # fmt: skip
        products = next(a for a in mast.asked if a["service"] == "Mast.Caom.Products")
        assert products["params"]["obsid"] == "17000,17001,17002"
        assert (tmp_path / LC).read_bytes() == bodies[LC]


def test_kepler_files_are_chosen_by_quarter_and_cadence_and_a_cone_is_a_position(tmp_path: Path) -> None:
    pytest.importorskip("astropy")
    mast = Mast({"kplr010002792-2010174085026_llc.fits": fits(), "kplr010002792-2009259160929_llc.fits": fits()}, "LLC")
    for product, quarter in zip(mast.products, ("Q5", "Q2"), strict=True):
        product["description"] = f"Lightcurve Long Cadence (CLC) - {quarter}"
    with mast.server() as server:
        files = ask(server, tmp_path, "kepler", "cone=290.1,44.2", "radius=10", "quarter=5")
        assert [f.remote.name for f in files] == ["kplr010002792-2010174085026_llc.fits"]
        assert mast.asked[0]["service"] == "Mast.Caom.Filtered.Position"
        ra, dec, radius = (float(x) for x in mast.asked[0]["params"]["position"].split(","))
        assert (ra, dec) == (290.1, 44.2)
        assert radius == pytest.approx(10 / 3600, rel=1e-3)
        ask(server, tmp_path, "kepler", "kic=10002792", "quarter=5")
        filters = {f["paramName"]: f["values"] for f in mast.asked[-3]["params"]["filters"]}
        assert filters["target_name"] == ["kplr010002792"]


def test_target_pixels_have_their_own_products_and_columns(tmp_path: Path) -> None:
    pytest.importorskip("astropy")
    mast = Mast({LC.replace("_lc", "_tp"): fits(pixels=True)}, "TP")
    with mast.server() as server:
        (file,) = ask(server, tmp_path, "tess", "tic=261136679", "product=tp")
        assert (file.state, file.remote.kind) == ("fetched", "fits-pixels")
        mast.files = {LC.replace("_lc", "_tp"): fits()}  # a light curve under that name
        mast.products[0]["size"] = None
        (file,) = ask(server, tmp_path / "b", "tess", "tic=261136679", "product=tp")
        assert file.state == "rejected"
        assert "no column FLUX" in file.reason


@pytest.mark.parametrize(
    ("harm", "why"),
    [(lambda: fits()[:-2880], "ends early"), (lambda: fits()[:5000], "FITS"),
     (lambda: fits()[:8000] + b"\x01" + fits()[8001:], "DATASUM"),
     (lambda: fits(rename=("PDCSAP_FLUX", "BRIGHTNESS")), "no column PDCSAP_FLUX"), (lambda: fits(rename=("TIME", "T")), "no column TIME"),
     (lambda: fits(unit="Jy"), "'Jy'"), (lambda: fits(tic=5), "target 5"), (lambda: b"SIMPLE  =" * 1000, "FITS"),
     (lambda: fits().replace(b"NAXIS2  =                 1000", b"NAXIS2  =        9999999999999"), "NAXIS2 is 9999999999999"),
     (lambda: fits().replace(b"NAXIS2  =                 1000", b"NAXIS2  =              1999999"), "ends early"),
     (lambda: fits()[:400] + f"{'COMMENT x':80}".encode() * 100_000, "4,000 cards"),
     (lambda: fits().replace(b"BITPIX  =                    8", b"BITPIX  =                  'x'"), "BITPIX")],
)  # fmt: skip
def test_a_fits_file_that_lies_or_changed_is_rejected(tmp_path: Path, harm: Any, why: str) -> None:
    pytest.importorskip("astropy")
    body = harm()
    assert body != fits()
    with Mast({LC: body}, "LC").server() as server:
        (file,) = ask(server, tmp_path, "tess", "tic=261136679")
        assert file.state == "rejected", file.reason
        assert why in file.reason


@pytest.mark.parametrize("name", ["../../evil_lc.fits", "/etc/cron.d/x_lc.fits", "manifest.json"])
def test_a_path_from_the_archive_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    mast = Mast({LC: b"x"}, "LC")
    mast.products[0]["productFilename"] = name
    with mast.server() as server, pytest.raises(FetchError, match="not a name"):
        ask(server, tmp_path / "f", "tess", "tic=261136679")
    assert list(tmp_path.iterdir()) == []
    mast.products[0] |= {"productFilename": LC, "dataURI": "mast:../../x?y=z"}
    with mast.server() as server, pytest.raises(FetchError, match="not a URI"):
        ask(server, tmp_path / "f", "tess", "tic=261136679")


@pytest.mark.parametrize(
    ("answer", "why"),
    [(b'{"status": "ERROR", "msg": "bad filter"}', "bad filter"), (b"[]", "does not answer"), (b"not json", "not JSON"),
     (b'{"status": "COMPLETE"}', "no rows"), (b'{"status": "COMPLETE", "data": [3]}', "no rows"), (b'{"status": "EXECUTING"}', "EXECUTING"),
     (b'{"status": "COMPLETE", "data": [{"obs": 3}]}', "no obsid"), (b'{"status": "COMPLETE", "data": []}', "no TESS time series"),
     (b"<html><title>Maintenance</title>", "web page")],
)  # fmt: skip
def test_answers_of_mast_that_cannot_be_used_are_said_in_one_line(tmp_path: Path, answer: bytes, why: str) -> None:
    with ArchiveServer({"/api/v0/invoke": answer}) as server, pytest.raises(FetchError) as caught:
        ask(server, tmp_path, "tess", "tic=261136679")
    assert why in str(caught.value)


def test_more_files_than_the_limit_are_not_begun(tmp_path: Path) -> None:
    mast = Mast({f"{k}_lc.fits": b"x" for k in range(5)}, "LC")
    with mast.server() as server, pytest.raises(UserError, match="raise limit"):
        ask(server, tmp_path, "tess", "tic=261136679", "limit=4")
    assert not any(asked.path.endswith("file") for asked in server.asked)


# Brokers

NAME = "ZTF21aaxtctv"
DETECTION = {
    "mjd": 59310.4,
    "candid": "1566428011615010003",
    "fid": 1,
    "magpsf": 18.1,
    "sigmapsf": 0.1,
    "ra": 10.5,
    "dec": 20.5,
    "isdiffpos": 1,
}
FINK = {"i:objectId": NAME, "i:candid": 1566428011615010003, "i:jd": 2459310.9, "i:fid": 2, "i:magpsf": 18.1, "i:sigmapsf": 0.1,
        "i:ra": 10.5, "i:dec": 20.5, "d:cdsxmatch": "Unknown"}  # fmt: skip
LIMIT = {"jd": 2459300.9, "fid": 1, "diffmaglim": 20.1}
LASAIR = {"objectId": NAME, "objectData": {"ncand": 1}, "candidates": [{**DETECTION, "jd": 2459310.9}, LIMIT]}
BROKERS: dict[str, tuple[str, Any]] = {
    "alerce": (
        f"/ztf/v1/objects/{NAME}/lightcurve",
        {"detections": [DETECTION], "non_detections": [{"mjd": 59300.1, "fid": 1, "diffmaglim": 20.0}]},
    ),
    "fink": ("/api/v1/objects", [FINK]),
    "lasair": ("/api/object/", LASAIR),
}


@pytest.mark.parametrize("broker", BROKERS)
def test_a_brokers_object_comes_as_it_is(tmp_path: Path, broker: str) -> None:
    path, answer = BROKERS[broker]
    body = json.dumps(answer).encode()
    with ArchiveServer({path: body}) as server:
        (file,) = ask(server, tmp_path, broker, NAME, token="hunter2")
        assert file.state == "fetched", file.reason
        assert file.record is not None
        assert (file.record.rows, file.record.rejects) == (1, {})
        assert file.path is not None
        assert file.path.read_bytes() == body
        sent = server.asked[0]
        if broker == "fink":
            assert json.loads(sent.body) == {"objectId": NAME, "output-format": "json"}
        assert sent.headers.get("Authorization") == ("Token hunter2" if broker == "lasair" else None)
        assert b"hunter2" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize(
    ("change", "why"),
    [(lambda text: text.replace("magpsf", "magnitude"), "no column"), (lambda text: '{"error": "no such object"}', "no such object"),
     (lambda text: text[:-5], "not JSON"), (lambda text: "[]", ""), (lambda text: "{}", "form changed"), (lambda text: "3", "form changed"),
     (lambda text: text.replace("18.1", "-999"), "none of 1 rows"), (lambda text: text.replace("18.1", '"bright"'), "not a number")],
)  # fmt: skip
def test_an_object_of_another_form_is_rejected(tmp_path: Path, broker: str, change: Any, why: str) -> None:
    path, answer = BROKERS[broker]
    with ArchiveServer({path: change(json.dumps(answer)).encode()}) as server:
        (file,) = ask(server, tmp_path, broker, NAME, token="t")
        assert file.state == "rejected"
        # A Lasair row without its magnitude reads as a limit.
        assert why in file.reason or (broker == "lasair" and "no measurement" in file.reason)


@pytest.mark.parametrize("broker", ["fink", "lasair"])
def test_another_object_than_was_asked_for_is_rejected(tmp_path: Path, broker: str) -> None:
    path, answer = BROKERS[broker]
    with ArchiveServer({path: json.dumps(answer).replace(NAME, "ZTF18abbuksn").encode()}) as server:
        (file,) = ask(server, tmp_path, broker, NAME, token="t")
        assert file.state == "rejected"
        assert "not about ZTF21aaxtctv" in file.reason


def test_an_object_that_grew_is_fetched_again_on_request(tmp_path: Path) -> None:
    path, answer = BROKERS["fink"]
    with ArchiveServer({path: json.dumps(answer).encode()}) as server:
        ask(server, tmp_path, "fink", NAME)
        server.files[path] = json.dumps([*answer, FINK]).encode()
        assert [f.state for f in ask(server, tmp_path, "fink", NAME)] == ["kept"]
        (file,) = ask(server, tmp_path, "fink", NAME, again=True)
        assert file.state == "fetched"
        assert file.record is not None
        assert file.record.rows == 2
        # One that fails leaves the former there.
        server.files[path] = b"{}"
        assert [f.state for f in ask(server, tmp_path, "fink", NAME, again=True)] == ["rejected"]
        assert [f.state for f in ask(server, tmp_path, "fink", NAME, offline=True)] == ["kept"]


@pytest.mark.parametrize(("broker", "seconds"), [("alerce", 0.5), ("fink", 1.0), ("lasair", 36.0)])
def test_an_archive_is_asked_no_faster_than_its_rate(tmp_path: Path, broker: str, seconds: float) -> None:
    now, times = [0.0], []

    def sleep(pause: float) -> None:
        now[0] += pause

    def answer(asked: Asked) -> bytes:
        times.append(now[0])
        return b"{}"

    names = ("ZTF21aaxtctv", "ZTF18abbuksn", "ZTF19aaaaaaa")
    paths = {f"/ztf/v1/objects/{name}/lightcurve" for name in names} | {"/api/v1/objects", "/api/object/"}
    clock = Clock(lambda: now[0], sleep, lambda: datetime(2026, 11, 30, tzinfo=UTC), lambda: 0.0)
    with ArchiveServer(dict.fromkeys(paths, answer)) as server:
        query = parse(broker, names, keys=SOURCES[broker].keys, base=server.url, token="t")
        list(fetch(query, tmp_path, clock=clock))
    assert len(times) == 6  # each is asked for again, since it cannot be used
    assert min(np.diff(times)) == pytest.approx(seconds)


def test_lasair_without_a_token_says_where_one_is(tmp_path: Path) -> None:
    with ArchiveServer({}) as server, pytest.raises(FetchError, match="LASAIR_TOKEN"):
        ask(server, tmp_path, "lasair", NAME)
    assert server.asked == []


@pytest.mark.parametrize(
    ("source", "words"),
    [("ztf-nights", ["2024-06-17"]), ("ztf-nights", ["20241301"]), ("ztf-nights", ["20100101"]), ("ztf-nights", ["20240619..20240617"]),
     ("ztf-nights", ["20180601..20260101"]), ("ztf-lightcurves", ["298"]), ("ztf-lightcurves", ["400,3"]), ("ztf-lightcurves", ["nan,3"]),
     ("ztf-lightcurves", ["1,2", "radius=0"]), ("ztf-lightcurves", ["1,2", "band=z"]), ("ztf-lightcurves", ["1,2", "collection=../x"]),
     ("ztf-lightcurves", ["radius=3"]), ("tess", ["261136679"]), ("tess", ["tic=-3"]), ("tess", ["tic=1.5"]),
     ("tess", ["radius=3"]),
     ("tess", ["product=lc"]), ("tess", ["tic=1", "product=gif"]), ("tess", ["tic=1", "author=a b"]), ("tess", ["tic=1", "cadence=5"]),
     ("kepler", ["quarter=5"]), ("alerce", ["SN2011fe"]), ("fink", ["ZTF21aaxtctv/../x"]), ("tess", ["tic=1", "tic=2"]),
     ("tess", ["tci=1"]),
     ("tess", ["tic="])],
)  # fmt: skip
def test_a_query_that_is_written_otherwise_asks_nothing(tmp_path: Path, source: str, words: list[str]) -> None:
    with ArchiveServer({}) as server, pytest.raises(UserError) as caught:
        ask(server, tmp_path / "f", source, *words)
    assert caught.value.code == 2
    assert str(caught.value).isprintable()
    assert server.asked == []


def test_every_source_has_its_page_its_terms_and_an_example() -> None:
    for source in SOURCES.values():
        assert source.page.startswith("https://")
        assert source.base.startswith("https://")
        assert source.licence
        assert source.example
        assert parse(source.name, source.example.split(), keys=source.keys, base=source.base).source == source.name


def test_the_page_names_every_source_and_its_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "fetch.md").read_text(encoding="utf-8")
    for source in SOURCES.values():
        assert f"| `{source.name}` |" in page
        assert f"<{source.page}>" in page
        for key in source.keys:
            assert f"{key}=" in page
