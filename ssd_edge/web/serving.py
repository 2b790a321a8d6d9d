"""The server: uvicorn, which says nothing and trusts nobody."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp

from ssd_edge.web.patience import PatientProtocol


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Make the server of an application."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",  # a client that sends nonsense is no event
            access_log=False,  # what a browser sends is nobody's to keep
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=16 << 10,
        )
    )
