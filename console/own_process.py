"""What a command that is a process of production by itself shares: its metrics on a port (until a signal: `streams.until_ended`).

settings → metrics are served
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from errors import UserError, one_line

if TYPE_CHECKING:
    from settings.model import Settings


def serve_metrics(settings: Settings, place: int) -> None:
    """Serve the metrics of this process.

    Parameters
    ----------
    settings : Settings
    place : int
        Behind the port of the first worker; where the setting is 0, any port.

    Raises
    ------
    UserError
        They cannot have their port.
    """
    import prometheus_client

    port = settings.metrics_port + place if settings.metrics_port else 0
    try:
        prometheus_client.start_http_server(port, settings.metrics_host)
    except OSError as error:
        raise UserError(
            f"the metrics cannot have {settings.metrics_host}:{port} ({one_line(error, 80)}): set PROTONOVA_METRICS_PORT"
        ) from None
