"""A page of the documentation taken apart: its fenced blocks, sections, tables, links and headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BESIDE_README = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
PAGES = [*BESIDE_README, *sorted((ROOT / "docs").rglob("*.md"))]
DEVELOPING = ROOT / "docs/developing.md"
HOW_IT_WORKS = ROOT / "docs/how-it-works.md"
COMMANDS = ROOT / "docs/reference/commands.md"
PROFILE = ROOT / "docs/reference/profile.md"
FILES = ROOT / "docs/reference/files.md"
SCHEDULERS = ROOT / "docs/how-to/schedulers.md"


@dataclass(frozen=True)
class Block:
    """A fenced block. `run`: what the comment above it says, host first."""

    page: Path
    line: int
    kind: str
    text: str
    run: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Table:
    heading: str
    head: list[str]
    rows: list[list[str]]


def blocks(page: Path) -> list[Block]:
    found = re.finditer(
        r"(?:^<!-- run: (?P<run>.*?) -->\n)?^(?P<indent> *)```(?P<kind>\S*)\n(?P<text>.*?)^(?P=indent)```$",
        page.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return [
        Block(page, page.read_text()[: match.start()].count("\n") + 1, match["kind"], match["text"], match["run"] or "")
        for match in found
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def sections(page: Path, level: str = "##") -> dict[str, str]:
    """Heading → text below it, its own subsections included."""
    parts = re.split(rf"^{level} (.+)$", prose(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(page: Path) -> list[Table]:
    found: list[Table] = []
    heading, lines = "", []
    for line in [*prose(page).splitlines(), ""]:
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip("|").split("|")])
        elif lines:
            assert re.fullmatch(r"(:?-+:?)+", "".join(lines[1])), f"{page.name}: a table without a head: {lines[0]}"
            found.append(Table(heading, lines[0], lines[2:]))
            lines = []
        if line.startswith("#"):
            heading = line.lstrip("# ")
    return found


def table(page: Path, heading: str, first: str) -> list[list[str]]:
    """The rows of the table under `heading` whose first column is called `first`."""
    return next(found.rows for found in tables(page) if (found.heading, found.head[0]) == (heading, first))


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def links(page: Path) -> list[str]:
    """Those within the checkout."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented_files() -> dict[str, tuple[str, str]]:
    """Path → its kind and mode."""
    rows = [row for found in tables(FILES) if found.head[:3] == ["path", "kind", "mode"] for row in found.rows]
    return {code(row[0])[0]: (row[1], row[2]) for row in rows}
