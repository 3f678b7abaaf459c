"""dask-labextension in a lab: its clusters end with JupyterLab, and its own route to their dashboards leads there."""

from __future__ import annotations

import asyncio
import re
from typing import Any

PROXIED = re.compile(r"^(?:https?://[^/]+)?/(?:.*/)?proxy/(\d+)(?:/|$)")
"""A link through JupyterLab's proxy, whatever stands before it."""

CLOSE_S = 10.0
"""gears stop ends JupyterLab by force after 20 s."""


def fix_dashboards(handler: Any) -> None:
    """Let /dask/dashboard/ID lead to the port in the cluster's link.

    It takes the browser's own port for it, where the link is one of JupyterLab's proxy. Its panes don't use the route
    then, but anybody may.
    """
    parsed = handler._get_parsed

    def by_link(self: Any, cluster_id: str) -> Any:
        """Return the host and port behind a cluster's link through the proxy; of others, what the extension has."""
        from dask_labextension.manager import manager

        found = PROXIED.match((manager.get_cluster(cluster_id) or {}).get("dashboard_link", ""))
        return ("127.0.0.1", int(found[1])) if found else parsed(self, cluster_id)

    handler._get_parsed = by_link


def close_with(serverapp: Any, manager: Any) -> None:
    """End the clusters of +NEW before JupyterLab ends: else their jobs that wait in a queue stay there."""
    cleanup = serverapp.cleanup_extensions

    async def close() -> None:
        """Close the clusters within CLOSE_S, then clean up as ever. A failure is logged, and stops nothing."""
        try:
            await asyncio.wait_for(manager.close(), CLOSE_S)
        except Exception:
            serverapp.log.exception("gears: not all Dask clusters were closed")
        await cleanup()

    serverapp.cleanup_extensions = close
