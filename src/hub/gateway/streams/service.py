"""Streams of the chunks of tasks as replies."""

from __future__ import annotations

from functools import partial
from typing import Final, final

from anyio import current_time
from litestar import Response

from hub.gateway.models.catalog import ServedModel
from hub.gateway.models.codec import Codec
from hub.gateway.streams.errors import NotStreaming
from hub.gateway.streams.forms import StreamForm
from hub.gateway.streams.metrics import StreamMetrics
from hub.gateway.streams.stream import ChunkStream
from hub.gateway.tasks.errors import ContractUnavailable
from hub.gateway.tasks.metrics import SubmitMetrics
from hub.gateway.tasks.results import is_streaming
from hub.gateway.tasks.service import TaskService
from hub.gateway.tasks.submission import SubmissionService
from hub.http.long_polling import LongPollRegistry
from hub.http.streaming import DuplexStreamingResponse, RequestBody, Write
from hub.ports.result_store import ChunkPosition
from hub.submission.outcomes import SubmitResult
from hub.task import TaskRecord


@final
class StreamService:
    """Makes replies that stream the chunks of tasks, for calls and for tasks that were submitted.

    Args:
        submissions: Cancels the tasks of calls whose clients have disconnected.
        tasks: Reads the chunks.
        polls: Bounds the waits, and ends them when the server drains.
        submit_metrics: Times the calls.
        metrics: Counts streams and chunks.

    Attributes:
        submissions: Makes the tasks of calls.
        tasks: Reads the chunks.
        codecs: Decode the chunks.
    """

    def __init__(
        self,
        submissions: SubmissionService,
        tasks: TaskService,
        polls: LongPollRegistry,
        submit_metrics: SubmitMetrics,
        metrics: StreamMetrics,
    ) -> None:
        self.submissions: Final = submissions
        self.tasks: Final = tasks
        self.codecs: Final = submissions.codecs
        self._polls = polls
        self._submit_metrics = submit_metrics
        self._metrics = metrics

    async def codec_of(self, record: TaskRecord) -> Codec:
        """The codec of the chunks of a task.

        Raises:
            NotStreaming: Its model answers with one message.
            ContractUnavailable: The contract cannot be fetched.
        """
        codec = await self.codecs.resolve(record)
        if codec is None:
            raise ContractUnavailable
        if not is_streaming(record, self.codecs):
            raise NotStreaming(record.id, record.model)
        return codec

    async def call_reply(
        self,
        model: ServedModel,
        task: SubmitResult,
        form: StreamForm,
        *,
        after: ChunkPosition | None,
        headers: dict[str, str],
    ) -> Response[bytes]:
        """The reply to a call whose body was read: the task is cancelled if the client disconnects before its end.

        It goes on if the client gave an `Idempotency-Key`; see `SubmissionService.abandon`.

        Raises:
            ContractUnavailable: An earlier submit made the task for a former contract, which cannot be fetched.
        """
        codec = model.codec if task.record is None else await self.codec_of(task.record)

        async def write(_body: RequestBody, write: Write) -> None:
            stream = self._stream(codec, task, form, after)
            began = current_time()
            with self._metrics.stream(task.model) as sent, self._submit_metrics.wait(task.model) as wait:

                def on_chunks(count: int) -> None:
                    if not stream.chunks and not task.replayed:
                        self._metrics.first_chunk(task.model, current_time() - began)
                    sent(count)

                await stream.write(write, on_chunks)
                wait.result = stream.task

        return DuplexStreamingResponse(
            write,
            media_type=form.media_type,
            headers=headers,
            body_read=True,
            on_disconnect=partial(self.submissions.abandon, task),
        )

    def reply(
        self, record: TaskRecord, codec: Codec, form: StreamForm, *, after: ChunkPosition | None
    ) -> Response[bytes]:
        """The reply to a request for the chunks of a task. The task goes on if the client disconnects."""

        async def write(_body: RequestBody, write: Write) -> None:
            with self._metrics.stream(record.model) as sent:
                await self._stream(codec, record, form, after).write(write, sent)

        return DuplexStreamingResponse(write, media_type=form.media_type)

    def _stream(
        self, codec: Codec, task: TaskRecord | SubmitResult, form: StreamForm, after: ChunkPosition | None
    ) -> ChunkStream:
        return ChunkStream(self.tasks, self._polls, self.codecs, task, codec=codec, form=form, after=after)
