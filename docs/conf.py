"""The site of the documentation: `make docs` builds it into build/docs, and warnings are errors.

The pages are the Markdown files as a code host shows them. Their links and images are relative, and
so the root of the repository is what Sphinx reads. What a code host could not show is hidden in it
as an HTML comment, and unfolded here: `<!-- api: gcn_keras.gcn -->` is that name's reference.
Docstrings are plain text with names in backticks and indented examples, see `as_rst`.
"""

import inspect
import os
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

project = "gcn_keras"
copyright = "gcn_keras contributors, Apache License 2.0"
language = "en"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

root_doc = "README"
# Descriptions of data sets, which TFDS reads, too: without a title.
DATA_SETS = "pipelines/datasets/"
# The menu: what is below which page, under which caption.
MENU = {
    "README": {
        "Begin": [
            "docs/getting-started", "docs/experiments", "docs/your-own-data", "docs/phone",
            "docs/deployment",
        ],
        "Look up": [
            "docs/training", "docs/data-sets", "docs/beyond-one-machine", "docs/keras", "docs/api",
        ],
        "The project": [
            "docs/results", "docs/architecture", "docs/not-run", "CONTRIBUTING", "CHANGELOG",
        ],
    },
    "docs/experiments": {"Notebooks": ["notebooks/README"]},
    "docs/data-sets": {"Layouts": [f"{DATA_SETS}*/README"]},
    "docs/deployment": {
        "More": [
            "serving/README",
            "saved_models/README",
            "saved_models/camvid/README",
            "saved_models/shapes/README",
        ],
    },
}  # fmt: skip
include_patterns = [f"{root_doc}.md"] + [
    f"{page}.md" for menu in MENU.values() for pages in menu.values() for page in pages
]
exclude_patterns = [".*", "build", "data", "runs", "*.egg-info"]

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
highlight_language = "none"  # of indented blocks; the others name theirs

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Call arguments", "params_style")]

html_theme = "furo"
html_title = "gcn_keras"
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"

FRONT_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>gcn_keras</title>
<meta http-equiv="refresh" content="0; url=README.html">
<a href="README.html">gcn_keras</a>
"""


def unfold(app: Any, page: str, source: list[str]) -> None:
    """Completes a page's text by what is for the site alone.

    Args:
        app: Sphinx.
        page: the page's path without .md.
        source: its text, which is replaced.
    """
    text = re.sub("<!-- api: (.+?) -->", lambda match: _reference(match[1]), source[0])
    if page.startswith(DATA_SETS):
        text = f"# {page.split('/')[-2]}\n\n{text}"
    for caption, pages in MENU.get(page, {}).items():
        listed = "".join(f"/{name}\n" for name in pages)
        text += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{listed}```\n"
    source[0] = text


def _reference(name: str) -> str:
    """The directive that shows the docstrings of a function, a class or a module."""
    thing = pkgutil.resolve_name(name)
    kind, options = "function", ""
    if inspect.ismodule(thing):
        kind, options = "module", ":members:\n"
    elif inspect.isclass(thing):
        kind, options = "class", ":members:\n"
    return f"```{{eval-rst}}\n.. auto{kind}:: {name}\n   {options}\n```\n"


def as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Makes reStructuredText of a docstring, in place, before its sections are read.

    Names in backticks become code, and so does an indented block after an empty line.
    """
    text = re.sub(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", r"``\1``", "\n".join(lines))
    text = re.sub(r"(?<=\S)\n\n((?: {4}.*(?:\n\n(?= {4}))?\n?)+)", _as_block, text)
    lines[:] = text.split("\n")


def _as_block(match: re.Match) -> str:
    return f"\n\n::\n\n{match[1]}\n"


def write_front_page(app: Any, exception: Exception | None) -> None:
    """Leads from the site's address to its front page, which is named as on a code host."""
    if exception is None:
        Path(app.outdir, "index.html").write_text(FRONT_PAGE)


def setup(app: Any) -> None:
    """Connects the above with Sphinx."""
    app.connect("source-read", unfold)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # napoleon's is 500
    app.connect("build-finished", write_front_page)
