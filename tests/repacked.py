"""Packages that are installed somewhere, taken apart for being packed anew: so tests need no index and no network.

The environment of the tests, or that of a user of the centre, has the real ipykernel with all it needs.
"""

import re
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Of *.dist-info: what whoever installs a package writes there."""


@dataclass(frozen=True)
class Package:
    """`files`: content by path in site-packages. `commands`: as entry points say them."""

    name: str
    version: str
    needs: tuple[str, ...]
    files: dict[str, bytes]
    commands: tuple[str, ...] = ()


def sample(name: str, version: str, *, modules: int = 1, requires: str = "") -> Package:
    """A package that says its version, with a command of the same name."""
    module = f"__version__ = {version!r}\n\ndef main():\n    print({name!r}, __version__)\n"
    info = f"{name}-{version}.dist-info"
    wants = f"Requires-Dist: {requires}\n" if requires else ""
    texts = {
        f"{name}/__init__.py": module,
        **{f"{name}/part{number}.py": f"VALUE = {number}\n" for number in range(modules)},
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wants}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    files = {path: text.encode() for path, text in texts.items()}
    return Package(name, version, (), files, (f"{name} = {name}:main",))


BALLAST = ("debugpy/_vendored/", "jedi/third_party/")
"""The larger part of what a kernel needs, and needless for one that nobody debugs or completes words in."""

HOLLOW = (
    *BALLAST,
    *(f"{name}/" for name in ("debugpy", "jedi", "parso", "pygments", "prompt_toolkit", "tzdata", "wcwidth")),
)
"""What may go as well where no kernel is ever started, only made and imported."""


def installed(site_packages: Path, *names: str, left_out: tuple[str, ...] = ()) -> list[Package]:
    """These packages and all that they need, as they are in `site_packages`, less the directories `left_out`."""
    there = {_normal(found.name): found for found in distributions(path=[str(site_packages)])}
    taken: dict[str, Package] = {}
    wanted = [_normal(name) for name in names]
    while wanted:
        name = wanted.pop()
        if name not in taken:
            taken[name] = _read(there[name], there, left_out)
            wanted.extend(taken[name].needs)
    return list(taken.values())


def _read(found: Distribution, there: dict[str, Distribution], left_out: tuple[str, ...]) -> Package:
    """What it needs on another system, or for an extra, is not installed, or not asked for."""
    needs = [_normal(text) for text in found.requires or [] if "extra ==" not in text]
    files = {
        str(path): path.locate().read_bytes()
        for path in found.files or []
        if path.suffix != ".pyc" and not str(path).startswith("..") and path.name not in LEFT_OUT
        if not str(path).startswith(left_out)
    }
    commands = [f"{entry.name} = {entry.value}" for entry in found.entry_points if entry.group == "console_scripts"]
    needed = tuple(name for name in dict.fromkeys(needs) if name in there)
    return Package(_normal(found.name), found.version, needed, files, tuple(commands))


def _normal(requirement: str) -> str:
    """The name alone, as indexes have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]).lower()
