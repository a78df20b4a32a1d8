"""The calls, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from protonova_client import calls
from protonova_client.calling import options
from protonova_client.calls import Curve, Scored, given
from protonova_client.exchange import Ask, Pause, Steps, T
from protonova_client.night_files import begin_file, fetch_night
from protonova_client.row_table import Rows


class AsyncClient:
    """The HTTP API.

    Parameters
    ----------
    address : str, optional
        Such as ``http://127.0.0.1:8581``; else the variable PN_ADDRESS.
    key : str, optional
        ``pn_…``, or a bearer token; else the variable PN_KEY.
    timeout : float
        Of a connection, and of a silence [s].
    transport : httpx.AsyncBaseTransport, optional
        Instead of the network.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(**options(address, key, timeout=timeout), transport=transport)

    def __repr__(self) -> str:
        return f"AsyncClient({str(self._http.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def score(self, what: bytes | Curve, *, state: str | None = None) -> Scored:
        """Score a packet (Avro, Confluent-framed, a FITS light curve) or a light curve (`light_curve`)."""
        return await self._run(calls.score_one(what, state=state))

    async def score_many(self, what: Iterable[bytes | Curve], *, state: str | None = None) -> Rows:
        """Score many, a thousand a request; one that is rejected has `error` in its place."""
        return await self._run(calls.score_many(what, state=state))

    async def push(self, survey: str, packets: bytes | Iterable[bytes], *, key: str | None = None) -> Rows:
        """Put packets into the stream; a row a packet says where it lies. Repeats change nothing, by `key` or by the bytes."""
        return await self._run(calls.push(survey, [packets] if isinstance(packets, bytes) else packets, key=key))

    async def object(self, name: str) -> dict[str, Any]:
        """An object, with its counterparts of other surveys."""
        return await self._run(calls.data_of(Ask(path=calls.name_in("/v1/objects/{}", name))))

    async def light_curve(self, name: str) -> Rows:
        """Every detection of an object, the oldest first."""
        return await self._run(calls.whole(calls.name_in("/v1/objects/{}/lightcurve", name)))

    async def detections(self, name: str, *, limit: int | None = None) -> Rows:
        """The alerts of an object with their records, the newest first."""
        return await self._run(calls.rows_of(Ask(path=calls.name_in("/v1/objects/{}/detections", name)), limit=limit))

    async def probabilities(self, name: str, *, limit: int | None = None) -> Rows:
        """What each alert of an object was taken for, the newest first."""
        return await self._run(calls.rows_of(Ask(path=calls.name_in("/v1/objects/{}/probabilities", name)), limit=limit))

    async def neighbours(self, name: str, *, limit: int = 10) -> Rows:
        """Objects that the network sees as like this one."""
        return await self._run(calls.whole(calls.name_in("/v1/objects/{}/neighbours", name), limit=limit))

    async def cutout(self, name: str, kind: str = "science", *, form: str = "png", candid: str | int | None = None) -> bytes:
        """A cut-out (science, template, difference) as png or fits."""
        path = calls.name_in("/v1/objects/{}/cutouts/", name) + f"{kind}.{form}"
        return await self._run(calls.bytes_of(Ask(path=path, params=given(candid=candid))))

    async def objects(self, *, limit: int | None = 1_000, **wanted: Any) -> Rows:
        """Objects by survey, class_, min_probability, min_novelty, min_detections, since, until, time, object_ids."""
        return await self._run(calls.rows_of(Ask(method="POST", path="/v1/objects/query", json=calls.wanted_of(wanted)), limit=limit))

    async def cone(self, ra: float, dec: float, *, radius: float = 5.0, limit: int | None = 1_000) -> Rows:
        """Objects within a radius [arcsec] of a place [deg], the nearest first."""
        return await self._run(calls.rows_of(Ask(path="/v1/cone", params={"ra": ra, "dec": dec, "radius": radius}), limit=limit))

    async def cones(self, places: Mapping[str, tuple[float, float]], *, radius: float = 5.0, limit: int = 10) -> dict[str, Rows]:
        """What lies near each of many places (ra, dec) [deg], by their names."""
        return await self._run(calls.cones(places, radius=radius, limit=limit))

    async def alerts(self, *, limit: int | None = 1_000, **wanted: Any) -> Rows:
        """Alerts, the latest observed first: survey, class_, published, min_probability, min_novelty, since, until, time."""
        return await self._run(calls.rows_of(Ask(path="/v1/alerts", params=calls.wanted_of(wanted)), limit=limit))

    async def alert(self, name: str, *, packet_id: str | None = None) -> dict[str, Any]:
        """An alert `survey:candid` with its record."""
        return await self._run(calls.data_of(Ask(path=calls.name_in("/v1/alerts/{}", name), params=given(packet_id=packet_id))))

    async def packet(self, name: str, *, packet_id: str | None = None) -> bytes:
        """An alert's packet as it came."""
        return await self._run(calls.bytes_of(Ask(path=calls.name_in("/v1/alerts/{}/packet", name), params=given(packet_id=packet_id))))

    async def counts(self, night: str) -> dict[str, Any]:
        """What became of a night's packets."""
        return await self._run(calls.data_of(Ask(path="/v1/counts", params={"night": night})))

    async def rejects(self, *, limit: int | None = 1_000, error_class: str | None = None) -> Rows:
        """Rejected packets, the latest first."""
        return await self._run(calls.rows_of(Ask(path="/v1/rejects", params=given(error_class=error_class)), limit=limit))

    async def classes(self) -> Rows:
        """The classes of a decision."""
        return await self._run(calls.whole("/v1/classes"))

    async def models(self) -> Any:
        """Models by alias."""
        return await self._run(calls.data_of(Ask(path="/v1/models")))

    async def night(self, night: str, folder: Path | str, *, records: str = "json") -> list[Path]:
        """Fetch a night into files, or what is missing of it; see `night_files.fetch_night`."""
        return await self._run(fetch_night(night, Path(folder), records=records))

    async def get(self, path: str, **params: Any) -> Any:
        """The data of any resource."""
        return await self._run(calls.data_of(Ask(path=path, params=given(**params))))

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._take(step)
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            found: T = end.value
            return found

    async def _take(self, step: Ask | Pause) -> httpx.Response | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        request = self._http.build_request(
            step.method, step.path, params=dict(step.params), json=step.json, content=step.content, headers=dict(step.headers)
        )
        answer = await self._http.send(request, stream=step.into is not None)
        if step.into is None:
            return answer
        try:
            if answer.status_code >= 400:
                await answer.aread()
                return answer
            with step.into.open(begin_file(answer, step.into)) as out:
                async for piece in answer.aiter_bytes():
                    out.write(piece)
        finally:
            await answer.aclose()
        return answer
