"""The chunks of one task in memory. Does no I/O, and awaits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from hub.ports.result_store import Chunk, ChunkAppend, ChunkPosition


@final
class MemoryStream:
    """The chunks of one attempt, numbered from 1.

    Attributes:
        attempt: Which run made them.
    """

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self._bodies: list[bytes] = []

    def __len__(self) -> int:
        return len(self._bodies)

    def add(self, append: ChunkAppend) -> bool:
        """Adds chunks that follow the present ones; those that are there already are left out. Returns whether any is new."""
        new = append.bodies[len(self._bodies) + 1 - append.first :]
        self._bodies += new
        return bool(new)

    def read(self, after: int, *, limit: int, limit_bytes: int) -> Sequence[Chunk]:
        """The chunks after a number, up to the limits; a chunk above `limit_bytes` is returned alone."""
        found: list[Chunk] = []
        size = 0
        for number, body in enumerate(self._bodies[after : after + limit], after + 1):
            size += len(body)
            if found and size > limit_bytes:
                break
            found.append(Chunk(ChunkPosition(self.attempt, number), body))
        return found
