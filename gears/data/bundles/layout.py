"""The files of a directory with bundles, by their names. Pure.

`000001.tar`: a bundle; `000001.index`: what is in it, written once it was read back; `manifest-0001`: all that the
source had at the first put; `SHA256SUMS-0001`: of its files; `BUNDLES-0001`: of its bundles. `owner`: whose put it is;
`lock`: who is writing; `README`: how to restore without gears.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gears.data.manifest import Bundle

OWNER, LOCK, README = "owner", "lock", "README"
_BUNDLE = re.compile(r"(\d{6,})\.(tar|index)")
_PUT = re.compile(r"(manifest|SHA256SUMS|BUNDLES)-(\d{4,})")


def bundle_name(number: int) -> str:
    """Return the name of a bundle."""
    return f"{number:06d}.tar"


def index_name(bundle: str) -> str:
    """Return the name of the index of a bundle."""
    return f"{bundle.removesuffix('.tar')}.index"


def put_name(kind: str, number: int) -> str:
    """Return the name of a file that belongs to a put: `manifest`, `SHA256SUMS` or `BUNDLES`."""
    return f"{kind}-{number:04d}"


@dataclass(frozen=True, slots=True)
class Layout:
    """What is in such a directory: sizes of bundles and indexes by number, numbers of manifests, and other names."""

    tars: dict[int, int] = field(default_factory=dict)
    indexes: dict[int, int] = field(default_factory=dict)
    manifests: dict[int, int] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def newest(self) -> int:
        """The number of the newest manifest; 0 if there is none."""
        return max(self.manifests, default=0)

    @property
    def next_bundle(self) -> int:
        """The first number that no bundle has had."""
        return max((*self.tars, *self.indexes, 0)) + 1

    @property
    def sealed(self) -> list[int]:
        """The numbers of the bundles with an index."""
        return sorted(self.tars.keys() & self.indexes.keys())

    @property
    def unsealed(self) -> list[int]:
        """The numbers of bundles that an interrupted put has not sealed."""
        return sorted(self.tars.keys() - self.indexes.keys())

    def has(self, bundle: Bundle) -> bool:
        """Whether a bundle is there, by its size."""
        found = _BUNDLE.fullmatch(bundle.name)
        return found is not None and self.tars.get(int(found[1])) == bundle.size


def read_layout(sizes: Mapping[str, int]) -> Layout:
    """Sort the names that a store has."""
    layout, others = Layout(), []
    for name, size in sorted(sizes.items()):
        if found := _BUNDLE.fullmatch(name):
            (layout.tars if found[2] == "tar" else layout.indexes)[int(found[1])] = size
        elif (found := _PUT.fullmatch(name)) and found[1] == "manifest":
            layout.manifests[int(found[2])] = size
        elif not found and name not in (OWNER, LOCK, README):
            others.append(name)
    return Layout(layout.tars, layout.indexes, layout.manifests, tuple(others))
