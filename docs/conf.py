"""Sphinx configuration; the API page documents the installed npconv."""

from importlib.metadata import version as installed_version

project = "npconv"
author = "The npconv developers"
project_copyright = "2026, The npconv developers"
release = installed_version("npconv")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"npconv {release}"
