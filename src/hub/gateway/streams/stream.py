"""The chunks of one task, written as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from anyio import sleep_forever

from hub.concurrency.retrying import ExponentialBackoff
from hub.errors import ConnectionLost, HubError
from hub.gateway.models.codec import Codec, CodecResolver
from hub.gateway.schemas import TaskBody
from hub.gateway.streams.forms import StreamForm
from hub.gateway.tasks.results import message_json, task_body
from hub.gateway.tasks.service import TaskService
from hub.http.long_polling import LongPollRegistry
from hub.http.problem_document import encoded_members, problem_dict
from hub.http.streaming import Write
from hub.ports.result_store import ChunkPosition
from hub.submission.outcomes import SubmitResult
from hub.task import TaskRecord

HEARTBEAT: Final = 15.0
"""Seconds without a chunk after which something is sent: less than the time after which proxies close a connection."""


@final
class ChunkStream:
    """Writes the task if it has not ended, its chunks after a position, and its outcome; `restarted` before another attempt.

    A page of chunks is read when the page before is written. So a client that reads slowly delays only itself, and a
    stream has one page in memory, and what the store keeps for it. While the store is out of reach the stream goes on.
    When the server drains it ends without an outcome, and the client resumes at another gateway.

    Args:
        tasks: Reads chunks, and waits for them.
        polls: Bounds the waits, and ends them when the server drains.
        codecs: For the body of the task.
        task: The task as it is now.
        codec: Decodes the chunks.
        form: Encodes the stream.
        after: The position that the client has seen; `None`: it has seen nothing.

    Attributes:
        chunks: How many chunks were written so far.
    """

    def __init__(
        self,
        tasks: TaskService,
        polls: LongPollRegistry,
        codecs: CodecResolver,
        task: TaskRecord | SubmitResult,
        *,
        codec: Codec,
        form: StreamForm,
        after: ChunkPosition | None,
    ) -> None:
        self.chunks = 0
        self._tasks = tasks
        self._polls = polls
        self._codecs = codecs
        self._codec = codec
        self._form = form
        self._task = task
        self._last = after
        self._revision: int | None = None

    @property
    def task(self) -> TaskRecord | SubmitResult:
        """The task as it was last seen."""
        return self._task

    async def write(self, write: Write, on_chunks: Callable[[int], None]) -> None:
        """Returns when the task has ended, when the rest of the stream cannot be read, or when the server drains.

        Args:
            write: Sends bytes of the reply.
            on_chunks: Called after each page with the number of its chunks.
        """
        delays = ExponentialBackoff().intervals()
        ended = False
        try:
            await write(self._form.begin(await self._body()))
            while not ended and not self._polls.draining:
                try:
                    ended = await self._write_next(write, on_chunks)
                except ConnectionLost:
                    self._revision = None  # the next read does not wait: what happened meanwhile woke no waiting call
                    await write(self._form.idle("the result store is out of reach"))
                    with self._polls.wait_scope(next(delays)):
                        await sleep_forever()
                else:
                    delays = ExponentialBackoff().intervals()
        except HubError as error:  # the record has expired meanwhile, or a chunk cannot be decoded
            await write(self._form.problem(encoded_members(problem_dict(error))))

    async def _write_next(self, write: Write, on_chunks: Callable[[int], None]) -> bool:
        """Waits for the next chunks, or another change of the task, and writes them; whether the task has ended."""
        page = await self._tasks.chunks(self._task, self._last, beyond=self._revision, seconds=HEARTBEAT)
        if page is None:
            if not self._polls.draining:
                self._task = await self._tasks.get(self._task.id)  # which ends it if it is late
                await write(self._form.idle(self._task.state.value))
            return False
        if self._last is not None and self._last.attempt not in {0, page.attempt}:
            await write(self._form.restarted(page.attempt))
        pieces: list[bytes] = []
        undecodable: HubError | None = None
        try:
            for chunk in page.chunks:
                document = await message_json(self._codec, self._task.id, page.state, chunk.body)
                pieces.append(self._form.chunk(chunk.position, document))
        except HubError as error:
            undecodable = error
        if pieces:
            await write(b"".join(pieces))
            on_chunks(len(pieces))
            self.chunks += len(pieces)
        if undecodable is not None:
            raise undecodable
        self._last, self._revision = page.last, page.revision
        if not page.complete:
            return False
        self._task = record = await self._tasks.get(self._task.id)
        if record.outcome is None or record.attempt != page.attempt:
            return False  # an operator has put a dead task back to work
        await write(self._form.ended(await task_body(record, self._codecs)))
        return True

    async def _body(self) -> TaskBody:
        if isinstance(self._task, TaskRecord):
            return await task_body(self._task, self._codecs)
        if self._task.record is not None:
            return await task_body(self._task.record, self._codecs)
        return TaskBody.accepted(self._task)
