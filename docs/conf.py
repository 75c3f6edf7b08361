"""How Sphinx builds the documentation; `make docs` calls it, with every warning an error."""

from __future__ import annotations

project = "Cairn"
author = "the authors of Cairn"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["README.md"]
# So that #headings of other pages can be linked to, as on GitHub.
myst_heading_anchors = 4
nitpicky = True

html_title = "Cairn"
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["cairn.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_sidebars = {"**": ["globaltoc.html"]}  # every page: the theme lists those below a section only
html_theme_options = {
    "navbar_center": [],
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "search_bar_text": "Search the docs",
}
