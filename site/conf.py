"""Sphinx: the site, from the pages that `build.py` puts side by side."""

from importlib.metadata import metadata

_about = metadata("llmtok")
project = "llmtok"
author = "The llmtok authors"
release = _about["Version"]
repository = next(
    line.partition(", ")[2] for line in _about.get_all("Project-URL") if line.startswith("Repository")
)

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["reports"]
html_extra_path = ["reports"]

nb_execution_mode = "off"  # the notebooks are saved with their outputs
nb_ipywidgets_js = {}  # nothing is loaded from the web: a widget is saved as its picture
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = "llmtok"
html_theme_options = {
    "repository_url": repository,
    "repository_branch": "main",
    "use_repository_button": True,
    "use_download_button": False,
    "path_to_docs": "",
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
    "navbar_persistent": [],  # there is a search in the side bar
    "show_toc_level": 2,
    "home_page_in_toc": True,
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
