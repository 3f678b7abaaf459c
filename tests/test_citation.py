"""CITATION.cff: what the Citation File Format 1.2 requires, and the version of the code."""

from pathlib import Path

import yaml

import gears

CHECKOUT = Path(__file__).parents[1]
REQUIRED = {"cff-version", "message", "title", "authors"}
KNOWN = REQUIRED | {"type", "version", "license", "abstract", "keywords"}
"""Of the keys of the format, those that the file may have."""


def test_the_citation_is_complete_and_of_this_version() -> None:
    said = yaml.load((CHECKOUT / "CITATION.cff").read_text(), yaml.BaseLoader)
    assert REQUIRED <= set(said) <= KNOWN
    assert (said["cff-version"], said["type"], said["license"]) == ("1.2.0", "software", "BSD-3-Clause")
    assert said["version"] == gears.__version__
    assert all(set(author) == {"name"} and author["name"] for author in said["authors"])
    assert all(isinstance(word, str) for word in said["keywords"])
