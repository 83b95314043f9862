"""Versions of what is kept between runs, in one place that imports nothing."""

BUNDLE_FORMAT = 3
"""Of a bundle's files; another one is refused."""

LAYOUT_VERSION = 4
"""Of a sketch's arrays; bundles and state under another one are refused."""
