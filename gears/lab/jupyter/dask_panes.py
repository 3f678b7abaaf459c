"""dask-labextension in a lab: end its clusters with JupyterLab, and fix its route to their dashboards."""

from __future__ import annotations

import asyncio
import re
from typing import Any

PROXIED = re.compile(r"^(?:https?://[^/]+)?/(?:.*/)?proxy/(\d+)(?:/|$)")
"""A link through JupyterLab's proxy, with any prefix."""

CLOSE_S = 10.0
"""Time limit; `gears stop` kills JupyterLab after 20 s."""


def fix_dashboards(handler: Any) -> None:
    """Let /dask/dashboard/ID lead to the port in the cluster's link.

    Where that is a link of JupyterLab's proxy, the extension uses the browser's port instead. Its panes don't use this
    route then, but others can.
    """
    parsed = handler._get_parsed

    def by_link(self: Any, cluster_id: str) -> Any:
        """Return the host and port of a cluster's link through the proxy; of other links, the extension's result."""
        from dask_labextension.manager import manager

        found = PROXIED.match((manager.get_cluster(cluster_id) or {}).get("dashboard_link", ""))
        return ("127.0.0.1", int(found[1])) if found else parsed(self, cluster_id)

    handler._get_parsed = by_link


def close_with(serverapp: Any, manager: Any) -> None:
    """Close the clusters of +NEW before JupyterLab ends, since their queued jobs would stay in the queue."""
    cleanup = serverapp.cleanup_extensions

    async def close() -> None:
        """Close the clusters within CLOSE_S, then clean up as usual. A failure is only logged."""
        try:
            await asyncio.wait_for(manager.close(), CLOSE_S)
        except Exception:
            serverapp.log.exception("gears: not all Dask clusters were closed")
        await cleanup()

    serverapp.cleanup_extensions = close
