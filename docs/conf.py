"""Settings of Sphinx for the site that `scripts/site` builds from these pages."""

import xetrack

project = "xetrack"
author = "xetrack contributors"
release = xetrack.__version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"xetrack {release}"
exclude_patterns = ["images/*"]
# Links to headings, as the pages have them for readers of the repository.
myst_heading_anchors = 3
# Transcripts are no language, and the front matter of skills is for agents.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
