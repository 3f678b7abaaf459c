"""Bundles: a directory as large tar archives with indexes and a manifest, for places that want few, large files.

`put` stores, `get` brings back, `verify` reads everything again, `restore` brings back what a directory has lost.
`help_put` writes bundles of a put on another node.
"""

from gears.data.bundles.getting import get, restore
from gears.data.bundles.putting import put
from gears.data.bundles.tasks import Others, help_put
from gears.data.bundles.verifying import verify

__all__ = ["Others", "get", "help_put", "put", "restore", "verify"]
