"""The newest chunks of the streams that are being read here, out of notifications, so that they are not read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from hub.ports.result_store import Chunk, ChunkPage, ChunkPosition, Missing
from hub.types import TaskId, TaskState

TAIL_BYTES: Final = 64 * 1024
"""Bytes of chunks in one tail at most. A reader that is further behind reads pages."""

MAX_TAILS: Final = 4_096
"""Streams at most; the oldest is read from the store again."""


@final
class Tail:
    """The newest chunks of one attempt, without a gap. Made by `Tails.begin`."""

    __slots__ = ("attempt", "bodies", "known", "revision", "size", "start")

    def __init__(self) -> None:
        self.known = False  # whether a page has said where it begins
        self.attempt = 0
        self.revision = 0
        self.start = 1  # number of its first chunk
        self.bodies: list[bytes] = []
        self.size = 0

    @property
    def end(self) -> int:
        """Number of its last chunk."""
        return self.start + len(self.bodies) - 1

    def begin(self, attempt: int, start: int, revision: int) -> None:
        self.attempt, self.start, self.revision = attempt, start, revision
        self.bodies, self.size = [], 0

    def extend(self, attempt: int, first: int, bodies: Sequence[bytes], revision: int) -> bool:
        """Adds what one append has added; `False` if something is missing before it, or if that is too much."""
        if not self.revision:
            self.begin(attempt, first, revision - 1)
        if attempt != self.attempt or revision != self.revision + 1 or first != self.end + 1:
            return False
        self.revision = revision
        self.bodies += bodies
        self.size += sum(map(len, bodies))
        return self.size <= TAIL_BYTES

    def drop_until(self, number: int) -> None:
        """Forgets the chunks up to this one, which a reader has."""
        count = min(number - self.start + 1, len(self.bodies))
        if count > 0:
            self.size -= sum(map(len, self.bodies[:count]))
            del self.bodies[:count]
            self.start += count

    def page(self, after: int, limit: int, limit_bytes: int) -> ChunkPage:
        """The chunks after number `after`, which is not before the tail."""
        chunks: list[Chunk] = []
        size, skipped = 0, after - self.start + 1
        for number, body in enumerate(self.bodies[skipped : skipped + limit], after + 1):
            size += len(body)
            if chunks and size > limit_bytes:
                break
            chunks.append(Chunk(ChunkPosition(self.attempt, number), body))
        return ChunkPage(
            attempt=self.attempt,
            chunks=chunks,
            total=self.end,
            last=chunks[-1].position if chunks else ChunkPosition(self.attempt, after),
            state=TaskState.RUNNING,
            revision=self.revision,
        )


@final
class Tails:
    """The tails of the streams that calls of `ResultStore.chunks` wait for.

    A tail is begun before a page is read, so that no notification is missed, and it is complete as long as it is here: each
    change of a record has the next revision, and what does not follow without a gap, or is something else than chunks,
    removes the tail. Then the next call reads a page, and begins another one.
    """

    def __init__(self) -> None:
        self._tails: dict[TaskId, Tail] = {}

    def __len__(self) -> int:
        return len(self._tails)

    def begin(self, task_id: TaskId) -> Tail:
        """The tail of a task; a new one if there is none. Called before a page is read, and `synchronize` after it."""
        tail = self._tails.get(task_id)
        if tail is None:
            tail = self._tails[task_id] = Tail()
            if len(self._tails) > MAX_TAILS:
                del self._tails[next(iter(self._tails))]
        return tail

    def synchronize(self, task_id: TaskId, tail: Tail, page: ChunkPage | Missing) -> None:
        """Lets `tail` begin after `page`, which was read since `begin`, unless a change in between has removed it."""
        if self._tails.get(task_id) is not tail or tail.known:
            return
        if isinstance(page, Missing) or page.state is not TaskState.RUNNING or page.last.number < page.total:
            self.remove(task_id)
            return
        after = page.last.number
        if tail.revision <= page.revision:
            tail.begin(page.attempt, after + 1, page.revision)
        elif tail.attempt != page.attempt or tail.start > after + 1:
            self.remove(task_id)
        tail.known = True

    def extend(self, task_id: TaskId, revision: int, attempt: int, first: int, bodies: Sequence[bytes]) -> None:
        """A notification has brought chunks."""
        tail = self._tails.get(task_id)
        if tail is not None and revision > tail.revision and not tail.extend(attempt, first, bodies, revision):
            self.remove(task_id)

    def find(self, task_id: TaskId, after: ChunkPosition | None) -> Tail | None:
        """The tail that has all chunks after this position, those included that are still to come."""
        tail = self._tails.get(task_id)
        if tail is None or not tail.known or after is None or after.attempt != tail.attempt:
            return None
        return tail if after.number >= tail.start - 1 else None

    def changed(self, task_id: TaskId, revision: int) -> None:
        """A notification has brought another change than chunks; `revision` is 0 if the record is no more."""
        tail = self._tails.get(task_id)
        if tail is not None and not (tail.known and 0 < revision <= tail.revision):
            del self._tails[task_id]

    def remove(self, task_id: TaskId) -> None:
        """When it is not known whether a change was missed."""
        self._tails.pop(task_id, None)

    def clear(self) -> None:
        """After notifications may have been missed."""
        self._tails.clear()
