"""Names that the snippets of docs/how-to/gpu.md use and do not define."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Sequence", "load_network"]


class Network(Protocol):
    """What a library for GPUs loads."""

    def predict(self, texts: Sequence[str]) -> Sequence[str]: ...


def load_network(device: str) -> Network:
    """Reads the weights to a device."""
    raise NotImplementedError(device)
