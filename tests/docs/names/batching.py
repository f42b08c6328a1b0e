"""Names that the snippets of docs/how-to/batching.md use and do not define."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Sequence"]
