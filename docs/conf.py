"""Sphinx configuration; the API page documents the installed npconv."""

import html
import re
from importlib.metadata import version as installed_version
from xml.etree import ElementTree as ET

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

project = "npconv"
author = "The npconv developers"
project_copyright = "2026, The npconv developers"
release = installed_version("npconv")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

# The lessons are run on each build; a cell that raises stops it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
# What a cell prints is one block, in however many pieces it comes.
nb_merge_streams = True

autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"npconv {release}"
html_static_path = ["_static"]
html_css_files = ["npconv.css"]
html_math_renderer = "mathml"


MATHML = "http://www.w3.org/1998/Math/MathML"
ET.register_namespace("", MATHML)


def _mathml(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers draw without a script and without a network."""
    block = isinstance(node, nodes.math_block)
    # docutils' converter has no \substack: rows over one another, under a sum.
    text = re.sub(
        r"\\substack\{((?:[^{}]|\{[^{}]*\})*)\}",
        r"\\begin{matrix}\1\\end{matrix}",
        node.astext(),
    )
    try:
        written = _mended(tex2mathml(text, as_block=block))
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", error, text, location=node)
        written = self.encode(text)
    self.body.append(f'<div class="math">{written}</div>' if block else written)
    raise nodes.SkipNode


def _mended(written: str) -> str:
    """Set bars as brackets, and the index of a barred letter beside it, not below as of a sum."""
    # Names of characters are HTML's; XML has few of them.
    named = re.sub(r"&(?!(?:amp|gt|lt|quot);)\w+;", lambda found: html.unescape(found[0]), written)
    formula = ET.fromstring(named)
    for sign in formula.iter(f"{{{MATHML}}}mo"):
        if sign.text in ("|", "‖"):
            sign.attrib.update(lspace="0", rspace="0", stretchy="false")
    for letter in formula.iter(f"{{{MATHML}}}munderover"):
        base, index, above = letter
        if above.text == "ˉ":
            barred = ET.Element(f"{{{MATHML}}}mover", {"accent": "true"})
            barred.extend([base, above])
            letter.tag = f"{{{MATHML}}}msub"
            letter[:] = [barred, index]
    return ET.tostring(formula, encoding="unicode")


def setup(app: Sphinx) -> None:
    """Add the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
