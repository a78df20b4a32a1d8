"""Calls of the HTTP API from Python, for people and scripts: nothing of the engine is needed, httpx is all that is imported.

in → an address, a key; packets, light curves, names, places, nights
out → tables (pandas, Astropy), records, files of a night that go on where a transfer broke off (`Client`, `AsyncClient`)

    from protonova_client import Client
    with Client("http://127.0.0.1:8581", key="pn_…") as sky:
        sky.cone(150.1, 2.2, radius=5).to_pandas()
"""

from __future__ import annotations

from protonova_client.async_client import AsyncClient
from protonova_client.client_faults import ApiError, BrokenTransferError, ClientError, NotThereError, UnreachableError
from protonova_client.curve_columns import light_curve
from protonova_client.night_files import read_night
from protonova_client.row_table import Rows
from protonova_client.sync_client import Client

__all__ = [
    "ApiError", "AsyncClient", "BrokenTransferError", "Client", "ClientError", "NotThereError", "Rows", "UnreachableError", "light_curve",
    "read_night",
]  # fmt: skip
