"""Names that the snippets of docs/how-to/retries.md use and do not define."""

from __future__ import annotations

__all__ = ["fetch"]


async def fetch(address: str) -> str:
    """Reads a page of the web."""
    raise NotImplementedError(address)
