"""How Sphinx makes a site of README, docs/ and the pages beside README: `make docs`, https://www.sphinx-doc.org.

The pages are plain markdown, read on a forge as well: whatever a site needs beside it is added here. The source
directory is the checkout, so that a relative link leads to the same page in both.
"""

import re
import shutil
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import gears

ROOT = Path(__file__).parents[1]
TREE = """
```{{toctree}}
:hidden:
{}

{}
```
"""

project = "gears"
project_copyright = "2026, the gears developers"
release = version = gears.__version__

extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md"]
exclude_patterns = [".*", "build", "dist", "envs", "gears", "run", "tests"]
myst_heading_anchors = 4  # as a forge makes them

html_theme = "pydata_sphinx_theme"
html_title = f"gears {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_sidebars = {"**": ["all-pages.html"]}
html_theme_options = {
    "navbar_align": "right",
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def navigation() -> str:
    """The lists of docs/index.md as a tree each, under the bold line above it."""
    text = (ROOT / "docs/index.md").read_text()
    lists = re.findall(r"^\*\*(.+)\*\*\n\n((?:- .+\n|  .+\n)+)", text, re.MULTILINE)
    pages = {caption: re.findall(r"^- \[.*?\]\((\S+)\)", entries, re.MULTILINE) for caption, entries in lists}
    trees = [
        TREE.format(f":caption: {caption}", "\n".join(f"docs/{page}" for page in found))
        for caption, found in pages.items()
    ]
    return "".join([TREE.format("", "docs/index"), *trees])


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    if page == root_doc:
        app.env.note_dependency(ROOT / "docs/index.md")
        source[0] += navigation()


def write_index(app: Sphinx, failure: Exception | None) -> None:
    """README is what a browser gets that names no page."""
    if failure is None and app.builder.name == "html":
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    app.add_lexer("sshconfig", TextLexer)  # Pygments has none
    app.connect("source-read", add_navigation)
    app.connect("build-finished", write_index)
