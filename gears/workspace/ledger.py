"""What was shipped where, in git: which objects are in which transfer of which place.

Each shipment is a record in the repository, under a ref of its own (`refs/gears/data/…`). So a push and a fetch take
them along, everybody knows them without asking the place, and two who ship at the same time are in nobody's way. They
are on no branch: a clone without gears does not see them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gears.system import records
from gears.workspace.git import git

REFS = "refs/gears/data"
REFSPEC = f"{REFS}/*:{REFS}/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Objects that are in one transfer. `address`: of what that has written; `name`: that of the transfer."""

    name: str
    site: str
    address: str
    bundles: bool
    user: str
    host: str
    created: str
    objects: tuple[str, ...]
    size: int

    def is_at(self, site: str, place: str) -> bool:
        """Tell whether it is in a place of a site."""
        return self.site == site and self.address.startswith(f"{place}:")


def load_all(top: Path) -> list[Shipment]:
    """Return the shipments that this clone knows of, the newest first."""
    ids = git(top, "for-each-ref", "--format=%(objectname)", REFS).split()
    found = [records.parse(Shipment, _values(git(top, "cat-file", "blob", id))) for id in ids]
    return sorted(filter(None, found), key=lambda one: one.created, reverse=True)


def _values(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def save(top: Path, shipment: Shipment) -> None:
    """Add a shipment. Repeatable."""
    text = json.dumps(records.as_values(shipment), indent=0)
    id = git(top, "hash-object", "-w", "--stdin", input=text)
    git(top, "update-ref", f"{REFS}/{shipment.name}", id)
