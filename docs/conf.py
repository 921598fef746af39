"""The site: `make docs` builds it from these pages, the docstrings and the committed records."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx import addnodes
from sphinx.application import Sphinx

import liteframe

project = "liteframe"
author = "The liteframe authors"
version = release = liteframe.__version__
html_title = f"liteframe {release}"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
default_role = "literal"

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
INCLUDED = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "benchmarks/RESULTS.md": "results",
    "benchmarks/PAPER.md": "paper_claims",
}
"""Files outside of this folder -> the page that stands for them."""


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", resolve_links)
    for role, folder in {"src": "src/liteframe", "test": "tests"}.items():
        app.add_role(role, partial(file_role, folder))


def resolve_links(app: Sphinx, page: nodes.document) -> None:
    """Links in included files are relative to those. One to a file that no page stands for becomes its name; the build
    fails where there is no such file."""
    for link in list(page.findall(addnodes.pending_xref)):
        if link.get("reftype") != "myst" or link["reftarget"].startswith("#"):
            continue
        target = link["reftarget"].partition("#")[0] + (".md" if link.get("refdomain") == "doc" else "")
        path = (Path(link.source or app.env.doc2path(app.env.docname)).parent / target).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            continue
        page_name = INCLUDED.get(path.relative_to(ROOT).as_posix())
        if page_name is None and path.suffix == ".md" and path.is_relative_to(app.srcdir):
            page_name = path.relative_to(app.srcdir).with_suffix("").as_posix()
        if page_name:
            link.attributes.update(refdomain="doc", reftarget=page_name, reftargetid=None)
        else:
            link.replace_self(link.children)


def file_role(
    folder: str, name: str, rawtext: str, text: str, lineno: int, inliner: Inliner, *_: object
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The path of a file of the tree; the build fails where there is none."""
    path = f"{folder}/{text}"
    if not (ROOT / path).is_file():
        return [], [inliner.reporter.error(f"{path}: there is no such file", line=lineno)]
    return [nodes.literal(rawtext, text)], []
