"""The site: `make docs` builds it from these pages, the docstrings and the committed records."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.application import Sphinx

import liteframe

project = "liteframe"
author = "The liteframe authors"
version = release = liteframe.__version__
html_title = f"liteframe {release}"
html_theme = "furo"
html_copy_source = False

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
copybutton_exclude = ".linenos, .gp, .go"

# The notebook is run whenever the site is built, and the build fails where a cell does.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


ROOT = Path(__file__).resolve().parents[1]


def setup(app: Sphinx) -> None:
    """Roles that name a file of the tree, and fail the build where there is none."""
    for role, folder in {"src": "src/liteframe", "test": "tests"}.items():
        app.add_role(role, partial(file_role, folder))


def file_role(
    folder: str, name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, *_: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The path of a file, in code style."""
    path = f"{folder}/{text}"
    if not (ROOT / path).is_file():
        return [], [inliner.reporter.error(f"{path}: there is no such file", line=lineno)]
    return [nodes.literal(rawtext, path)], []
