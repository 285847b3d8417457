"""How the documentation is built."""

from importlib.metadata import version as version_of


project = "opennebula-tenancy"
author = "The opennebula-tenancy developers"
version = release = version_of("opennebula-tenancy")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinxcontrib.mermaid",
]
myst_fence_as_directive = ["mermaid"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "opennebula-tenancy"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = True
napoleon_use_ivar = True
default_role = "code"
suppress_warnings = ["myst.xref_missing"]
