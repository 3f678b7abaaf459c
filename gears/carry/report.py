"""What a save or a load did, for the person to read."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """Tell of each variable whether it is carried.

    `names`: saved, or back in the namespace. `missing`: why another is not, with the path to the culprit. `notes`: what
    is different about one that is carried. `problem`: why nothing was done; then the last good save is as it was.
    """

    names: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    problem: str = ""
    saved_at: float = 0.0
    """Unix time of the save."""
    bytes_written: int = 0
    bytes_reused: int = 0
    """Of buffers that the last save has already."""
    seconds: float = 0.0

    def note(self, name: str, text: str) -> None:
        """Add a note once."""
        notes = self.notes.setdefault(name, [])
        if text not in notes:
            notes.append(text)

    def miss(self, names: list[str], reason: str) -> None:
        """Name the variables as not carried."""
        for name in names:
            self.missing[name] = reason
