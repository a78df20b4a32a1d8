"""MAST: light curves and target pixels of TESS and Kepler by target, sector or quarter, and cone.

Queries by the Mashup API (https://mast.stsci.edu/api/v0/: ``Mast.Caom.Filtered``, ``.Filtered.Position``, ``Mast.Caom.Products``), files by
``/api/v0.1/Download/file?uri=…``. The columns are those of CAOM (https://mast.stsci.edu/api/v0/_c_a_o_mfields.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import orjson

from data.connectors.web.download import Remote
from data.connectors.web.faults import FetchError, NotThereError
from data.connectors.web.holdings import safe_name
from data.connectors.web.http_client import HttpClient, Request
from data.connectors.web.source_query import Query, position
from errors import one_line, usage

PAGE = 5_000
MOST_PAGES = 100
AT_ONCE = 100
"""Observations whose products are asked for in one request."""
TIC_AT_ONCE = 1_000
"""Stars whose rows of the TESS Input Catalog are asked for in one request."""
TIC_FILE = re.compile(r"tic_[0-9a-f]{1,40}\.json")
TIC_COLUMNS = ("ID", "ra", "dec", "objType", "Tmag", "Teff", "rad", "mass", "logg")
POLLS, POLL = 60, 3.0
"""How often [1, s] an answer that is being made is asked for again."""
MOST_FILES = 200
"""Unless limit= says otherwise."""
MOST_OF_A_FILE = 4 * 2**30
MOST_OF_CATALOGUE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Mission:
    """How a mission's observations are called at MAST."""

    collection: str
    author: str
    target: str
    """Form of `target_name`."""
    key: str
    """Of the target's number: tic, kic."""
    part: str
    """What a time of observing is called: sector, quarter."""
    most_target: int
    products: Mapping[tuple[str, str], tuple[str, ...]]
    """(product, cadence) → `productSubGroupDescription`."""


TESS = Mission(
    "TESS", "SPOC", "{}", "tic", "sector", 10**11,
    {("lc", "120"): ("LC",), ("lc", "20"): ("FAST-LC",), ("lc", "all"): ("LC", "FAST-LC"),
     ("tp", "120"): ("TP",), ("tp", "20"): ("FAST-TP",), ("tp", "all"): ("TP", "FAST-TP")},
)  # fmt: skip
KEPLER = Mission(
    "Kepler", "Kepler", "kplr{:09d}", "kic", "quarter", 10**9,
    {("lc", "long"): ("LLC",), ("lc", "short"): ("SLC",), ("lc", "all"): ("LLC", "SLC"),
     ("tp", "long"): ("LPD-TARG",), ("tp", "short"): ("SPD-TARG",), ("tp", "all"): ("LPD-TARG", "SPD-TARG")},
)  # fmt: skip


def tess(query: Query, client: HttpClient) -> list[Remote]:
    """Files of TESS: tic=, sector=, cone=RA,DEC with radius= [arcsec], product=lc|tp, cadence=120|20|all [s], author=."""
    return _files(query, client, mission=TESS)


def kepler(query: Query, client: HttpClient) -> list[Remote]:
    """Files of Kepler: kic=, quarter=, cone=RA,DEC with radius= [arcsec], product=lc|tp, cadence=long|short|all."""
    return _files(query, client, mission=KEPLER)


def _files(query: Query, client: HttpClient, *, mission: Mission) -> list[Remote]:
    if query.words:
        raise usage(f"{query.source}: write {mission.key}={one_line(query.words[0], 40)}, or cone=RA,DEC")
    target, part = (
        query.whole(mission.key, high=mission.most_target),
        query.whole(mission.part, high=1_000, low=0 if mission is KEPLER else 1),
    )
    cone = position(query.options["cone"]) if "cone" in query.options else None
    if target is None and cone is None and (part is None or mission is KEPLER):
        others = f", {mission.part}=NUMBER" if mission is TESS else ""
        raise usage(f"{query.source} needs {mission.key}=NUMBER{others} or cone=RA,DEC")
    if "radius" in query.options and cone is None:
        raise usage("radius= goes with cone=RA,DEC")
    limit = query.whole("limit", high=200_000) or MOST_FILES
    product = query.one_of("product", ("lc", "tp"))
    cadence = query.one_of("cadence", list(dict.fromkeys(c for _, c in mission.products)))
    author = query.options.get("author", mission.author)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", author):
        raise usage(f"author={one_line(author, 40)}: write SPOC, QLP, TASOC or the like")
    own = author == mission.author
    filters: dict[str, list[str]] = {
        "obs_collection": [mission.collection if own else "HLSP"],
        "dataproduct_type": ["timeseries"],
        "provenance_name": [author],
    }
    if not own:
        filters["project"] = [mission.collection]
    if target is not None:
        filters["target_name"] = [mission.target.format(target) if own or mission is TESS else str(target)]
    if part is not None and mission is TESS:
        filters["sequence_number"] = [str(part)]
    params: dict[str, Any] = {
        "columns": "obsid,obs_id,target_name,s_ra,s_dec,sequence_number,dataRights",
        "filters": [{"paramName": k, "values": v} for k, v in filters.items()],
    }
    service = "Mast.Caom.Filtered"
    if cone is not None:
        radius = query.number("radius", 21.0, low=0.1, high=7_200.0)
        params["position"] = f"{cone[0]:.6f}, {cone[1]:.6f}, {radius / 3600:.7f}"
        service += ".Position"
    observed = {_text(row, "obsid"): row for row in invoke(client, query.base, service=service, params=params)}
    if not observed:
        raise NotThereError(f"MAST has no {mission.collection} time series for {query.text.partition(' ')[2]} (author {author})")
    groups = mission.products[product, cadence]
    found: dict[str, Remote] = {}
    ids = list(observed)
    for at in range(0, len(ids), AT_ONCE):
        asked = {"obsid": ",".join(ids[at : at + AT_ONCE])}
        for row in invoke(client, query.base, service="Mast.Caom.Products", params=asked):
            # An observation of Kepler's has all quarters; a file's description ends with its own.
            if part is not None and mission is KEPLER and not re.search(rf"\bQ0*{part}\b", str(row.get("description"))):
                continue
            if _wanted(row, groups if own else None, product=product):
                remote = _remote(row, query, product=product, about={} if target is None else {"target": target})
                found[remote.name] = remote
        if len(found) > limit:
            raise usage(f"more than {limit:,} files are of this query: narrow it, or raise limit={limit}")
    if not found:
        raise NotThereError(
            f"MAST has {len(observed):,} observations for {query.text.partition(' ')[2]}, but no {product} file of cadence {cadence}"
        )
    catalogue = _catalogue([_text(row, "target_name") for row in observed.values()], query) if query.options.get("catalog") else []
    return [*catalogue, *(found[name] for name in sorted(found))]


def _catalogue(targets: Sequence[str], query: Query) -> list[Remote]:
    """Rows of the TESS Input Catalog for these stars (``Mast.Catalogs.Filtered.Tic.Rows``), each answer kept as a file."""
    query.one_of("catalog", ("tic",))
    ids = sorted({target for target in targets if re.fullmatch(r"[0-9]{1,11}", target)}, key=int)
    out = []
    for at in range(0, len(ids), TIC_AT_ONCE):
        some = ids[at : at + TIC_AT_ONCE]
        params = {"columns": "*", "filters": [{"paramName": "ID", "values": some}]}
        asked = {
            "service": "Mast.Catalogs.Filtered.Tic.Rows",
            "format": "json",
            "params": params,
            "pagesize": PAGE,
            "page": 1,
            "timeout": 30,
        }
        name = f"tic_{some[0] if len(some) == 1 else sha256(','.join(some).encode()).hexdigest()[:16]}.json"
        request = Request(f"{query.base}/api/v0/invoke", form={"request": orjson.dumps(asked).decode()})
        out.append(Remote(request, name, "tic-rows", most=MOST_OF_CATALOGUE, about={"targets": ",".join(some)}))
    return out


def _wanted(row: Mapping[str, Any], groups: Sequence[str] | None, *, product: str) -> bool:
    if str(row.get("dataRights") or "PUBLIC").upper() != "PUBLIC":
        return False
    name = str(row.get("productFilename", ""))
    if groups is not None:
        return row.get("productSubGroupDescription") in groups
    return bool(re.search(r"(_tp|_tpf|targ)\.fits$" if product == "tp" else r"(_lc|_llc|_slc|-lc)\.fits$", name))


def _remote(row: Mapping[str, Any], query: Query, *, product: str, about: Mapping[str, str | float]) -> Remote:
    uri, name = _text(row, "dataURI"), safe_name(_text(row, "productFilename"))
    if not re.fullmatch(r"mast:[A-Za-z0-9._+/-]{1,400}", uri) or ".." in uri:
        raise FetchError(f"MAST names a file by {one_line(uri, 120)!r}: not a URI of its own")
    size = row.get("size")
    kind = "fits-pixels" if product == "tp" else "fits-light-curve"
    url = f"{query.base}/api/v0.1/Download/file?uri={quote(uri, safe=':/')}"
    return Remote(Request(url), name, kind, size=size if isinstance(size, int) and size > 0 else None, most=MOST_OF_A_FILE, about=about)


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str | int) or value == "":
        raise FetchError(f"a row of MAST's answer has no {key}: its form changed")
    return str(value)


def invoke(client: HttpClient, base: str, *, service: str, params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Rows of a service's answer, page by page; one that is being made is waited for.

    Raises
    ------
    FetchError
    """
    for page in range(1, MOST_PAGES + 1):
        asked = {"service": service, "format": "json", "params": params, "pagesize": PAGE, "page": page, "removenullcolumns": False}
        request = Request(f"{base}/api/v0/invoke", form={"request": orjson.dumps(asked).decode()})
        for _ in range(POLLS):
            answer = client.read_json(request)
            if not isinstance(answer, dict) or answer.get("status") != "EXECUTING":
                break
            client.clock.sleep(POLL)
        if not isinstance(answer, dict) or answer.get("status") != "COMPLETE":
            message = answer.get("msg") or answer.get("status") if isinstance(answer, dict) else type(answer).__name__
            raise FetchError(f"MAST does not answer {service}: {one_line(message, 160)}")
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise FetchError(f"MAST's answer to {service} has no rows: its form changed")
        yield from rows
        paging = answer.get("paging")
        pages = paging.get("pagesFiltered") if isinstance(paging, dict) else 1
        if not isinstance(pages, int) or page >= pages:
            return
    raise FetchError(f"MAST's answer to {service} has more than {MOST_PAGES} pages of {PAGE:,} rows: narrow the query")
