"""A measurement and how it is printed: both sides as min/median/max, and the ratio of the medians."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HEAD = (
    "| what | unit | gears (min/median/max) | against | (min/median/max) | ratio | aim |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Row:
    """`against` names the other side; without values of its own there is nothing to compare with."""

    what: str
    unit: str
    ours: Sequence[float]
    against: str = ""
    theirs: Sequence[float] = ()
    aim: str = ""

    def __str__(self) -> str:
        ratio = f"{median(self.ours) / median(self.theirs):.2f}" if self.theirs else ""
        cells = [self.what, self.unit, _figures(self.ours), self.against, _figures(self.theirs), ratio, self.aim]
        return "| " + " | ".join(cells) + " |"


def _figures(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3g}" for value in (min(values), median(values), max(values))) if values else ""
