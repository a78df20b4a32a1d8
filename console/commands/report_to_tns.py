"""``protonova tns report OBJECT``: an object of the history as TNS takes it; shown, or sent to the sandbox, or to TNS itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from console import report as reports
from data.history import engines
from data.tns_report import LIVE, SANDBOX, Reporting, at_report, marker
from errors import UserError, one_line, say, usage
from schemas.records.codec import decode_detection
from schemas.records.parts import framing

if TYPE_CHECKING:
    from settings.model import Settings

TIME_OUT = 30.0
MOST_ANSWER = 4000
NOTHING: frozenset[int] = frozenset()


def report(settings: Settings, object_id: str, *, send: bool, live: bool, remarks: str, url: str | None = None) -> int:
    """Show or send a report; returns the exit status.

    Parameters
    ----------
    settings : Settings
    object_id : str
    send : bool
        Send it; else it is printed and nothing is asked of anybody.
    live : bool
        To TNS itself, and not to its sandbox.
    remarks : str
    url : str, optional
        Where it is sent, for tests.

    Raises
    ------
    UserError
        The object cannot be reported, or TNS does not take it.
    """
    missing = [name for name in ("tns_group", "tns_source", "tns_reporter") if not getattr(settings, name)]
    if missing:
        raise usage(f"set PROTONOVA_{missing[0].upper()}: a report says who reports (docs/handoff.md)")
    if live and not send:
        raise usage("--live goes with --send")
    made = _made(settings, object_id, remarks=remarks)
    if not send:
        print(json.dumps(made, indent=1))
        say("a dry run: nothing was sent; --send gives it to TNS' sandbox, --send --live to TNS")
        return 0
    if settings.tns_password is None or not settings.tns_bot_id or not settings.tns_bot_name:
        raise usage("set PROTONOVA_TNS_PASSWORD, PROTONOVA_TNS_BOT_ID and PROTONOVA_TNS_BOT_NAME: which bot sends (docs/handoff.md)")
    where = url or (LIVE if live else SANDBOX)
    form = {"api_key": settings.tns_password.get_secret_value(), "data": json.dumps(made)}
    try:
        with httpx.Client(timeout=TIME_OUT, follow_redirects=False) as client:
            answer = client.post(where, data=form, headers={"User-Agent": marker(settings.tns_bot_id, settings.tns_bot_name)})
    except httpx.HTTPError as error:
        raise UserError(f"TNS cannot be reached ({type(error).__name__}): whether the report came is not known; look there first") from None
    said = one_line(answer.text[:MOST_ANSWER].replace(form["api_key"], "…"), 300)
    if answer.status_code != 200:
        raise UserError(f"TNS answers {answer.status_code}: {said}")
    place = "TNS" if live else "the sandbox"
    reports.output().print(f"{object_id} was sent to {place}: {said}", soft_wrap=True, highlight=False, markup=False)
    return 0


def _made(settings: Settings, object_id: str, *, remarks: str) -> dict[str, Any]:
    if not engines.may_be_there(settings):
        raise UserError("there is no history to find the object in: run `protonova historian` first")
    store = engines.reader(settings)
    try:
        found = store.object(object_id, private=NOTHING)  # what is not public is not reported
        points = store.lightcurve(object_id, private=NOTHING)
        alerts = store.records(object_id, private=NOTHING, limit=1)
    finally:
        store.close()
    if found is None or not alerts:
        raise UserError(f"there is no public object {one_line(object_id, 60)!r} in the history")
    host = decode_detection(framing(alerts[0].schema_id) + alerts[0].body).host
    by = Reporting(group_id=settings.tns_group, source_id=settings.tns_source, reporter=settings.tns_reporter, remarks=remarks)
    return at_report(found, points, by=by, host=None if host is None else host.name, redshift=None if host is None else host.redshift)
