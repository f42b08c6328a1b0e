"""The browser of tests/browser, for the built site."""

from __future__ import annotations

from tests.browser.conftest import browser

__all__ = ["browser"]
