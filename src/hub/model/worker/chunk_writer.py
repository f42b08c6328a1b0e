"""Stores the chunks of streaming runs, those of many runs in one call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final, final

from anyio import Event, create_task_group, current_time

from hub.concurrency.notify import Notifier
from hub.concurrency.periodic import every
from hub.concurrency.retrying import AttemptLog, retrying
from hub.concurrency.timeouts import connection_timeout
from hub.errors import HubError
from hub.model.errors import ChunkTooLarge, StreamTooLarge
from hub.model.execution.chunk_window import ChunkWindow, WakeupPool
from hub.model.execution.wakeup import Crossing
from hub.model.worker.options import WorkerOptions
from hub.model.worker.retrying_batcher import BATCH_LIMIT, NotTaken
from hub.model.worker.run import TaskRun
from hub.ports.result_store import ChunkAppend, ResultStore
from hub.types import InstanceId

CHECK_PERIOD: Final = 0.5
"""Seconds without a chunk after which the store is asked whether the run is still the present one."""


class ChunksRefused(Exception):
    """The store does not take the chunks of a run: its task has ended, or another run of it has begun."""


NOT_WRITTEN: Final = (ChunksRefused, NotTaken, StreamTooLarge, ChunkTooLarge)
"""What `ChunkWriter.write` raises."""


@final
class _Stream:
    """The stream of one run on its way to the store."""

    __slots__ = ("bodies", "checked", "done", "error", "run", "since", "window")

    def __init__(self, run: TaskRun, window: ChunkWindow) -> None:
        self.run = run
        self.window = window
        self.bodies: list[bytes] = []  # taken out of the window, and not stored yet
        self.since = 0.0  # when they were taken
        self.checked = True  # whether the store has been asked since the last check was due
        self.done = Event()
        self.error: Exception | None = None

    def end(self, error: Exception | None = None) -> None:
        self.error = error
        self.done.set()


@final
class ChunkWriter:
    """Takes the chunks of runs out of their windows and appends them to the streams in the store.

    One task does so for all runs: a task for each that is woken twice for each chunk costs more than to store it. While one
    call of the store is under way the next chunks gather in the windows, so a slow store gets larger appends, not more of
    them. A call that fails is repeated until the timeout of its chunks. A run that yields nothing is compared with the store
    twice a second: no notification says that another run of its task has begun.

    Args:
        store: Where chunks go.
        instance: Id of the instance, for names of tasks.
        options: Limits.

    Attributes:
        stored: Chunks that the store has taken so far.
    """

    def __init__(self, store: ResultStore, *, instance: InstanceId, options: WorkerOptions) -> None:
        self._store = store
        self._instance = instance
        self._options = options
        self._attempts = AttemptLog("chunks", failing="chunks not taken, trying again")
        self._streams: dict[_Stream, None] = {}
        self._waiting: dict[_Stream, None] = {}  # those that have something for the store, or to be told
        self._changed = Notifier()
        self._arrivals: Crossing[ChunkWindow] | None = None
        self._wakeups = WakeupPool()
        self.stored = 0

    async def work(self) -> None:
        """Appends until it is cancelled."""
        self._arrivals = arrivals = Crossing[ChunkWindow]()
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._append_all, name=f"hub.chunks appends {self._instance}")
                tg.start_soon(self._check_all, name=f"hub.chunks checks {self._instance}")
                while (windows := await arrivals.receive()) is not None:
                    for window in windows:
                        window.arrived()
        finally:
            self._arrivals = None
            arrivals.close()
            arrivals.close_reader()
            self._wakeups.close()

    def window(self) -> ChunkWindow:
        """An empty window, for one run."""
        return ChunkWindow(
            self._wakeups,
            self._announce,
            stream_limit=self._options.stream_limit,
            chunk_limit=self._options.result_limit,
        )

    def _announce(self, window: ChunkWindow) -> None:
        """From any thread; without effect when the worker has ended."""
        arrivals = self._arrivals
        if arrivals is not None:
            arrivals.put(window)

    async def write(self, run: TaskRun, window: ChunkWindow) -> None:
        """Waits until all chunks of a run are stored, in order, up to the last one; counts them in `TaskRun.chunks`.

        Raises:
            ChunksRefused: The run is of no use any more.
            NotTaken: The store was away for `store_timeout`.
            StreamTooLarge: The chunks exceed `stream_limit`.
            ChunkTooLarge: One of them exceeds `result_limit`.
        """
        stream = _Stream(run, window)
        self._streams[stream] = None

        def wait_for_store() -> None:
            self._waiting[stream] = None
            self._changed.notify()

        window.on_arrival = wait_for_store
        wait_for_store()  # something may have arrived before
        try:
            await stream.done.wait()
        finally:
            window.on_arrival = lambda: None
            del self._streams[stream]
            self._waiting.pop(stream, None)
        if stream.error is not None:
            raise stream.error

    async def _check_all(self) -> None:
        """Twice a second lets those streams ask the store that have not stored anything meanwhile."""
        async for _ in every(CHECK_PERIOD):
            for stream in self._streams:
                if not stream.checked:
                    self._waiting[stream] = None
                    self._changed.notify()
                stream.checked = False

    async def _append_all(self) -> None:
        """Appends what waits, call after call."""
        while True:
            await self._changed.wait_for(lambda: self._waiting)
            await retrying(on=HubError, on_retry=self._attempts.on_retry).call(self._append_next)
            self._attempts.succeeded()

    async def _append_next(self) -> None:
        batch = [stream for stream in self._next() if self._take(stream)]
        if not batch:
            return
        try:
            with connection_timeout("the result store", self._options.store_timeout):
                results = await self._store.append([_append(stream) for stream in batch])
        except HubError:
            self._put_back(batch)
            raise
        for stream, stored in zip(batch, results, strict=True):
            self._settle(stream, stored=stored)

    def _next(self) -> Sequence[_Stream]:
        streams = list(islice(self._waiting, BATCH_LIMIT))
        for stream in streams:
            del self._waiting[stream]
        return streams

    def _take(self, stream: _Stream) -> bool:
        """Takes chunks out of a window; whether the store has to be asked. Tells a stream that has come to its end."""
        if stream.done.is_set():
            return False
        if stream.bodies:
            return True
        try:
            stream.bodies = stream.window.take()
        except (StreamTooLarge, ChunkTooLarge) as error:
            stream.end(error)
            return False
        if stream.bodies:
            stream.since = current_time()
            return True
        if stream.window.ended:
            stream.end()
            return False
        return not stream.checked

    def _settle(self, stream: _Stream, *, stored: bool) -> None:
        """Tells a stream what the store has answered; one whose `write` was cancelled does not mind."""
        bodies, stream.bodies = stream.bodies, []
        stream.checked = True
        if not stored:
            stream.end(ChunksRefused())
            return
        if bodies:
            stream.window.mark_stored(bodies)
            stream.run.chunks = stream.window.stored
            self.stored += len(bodies)
        if stream in self._streams and stream.window.ended:  # the end may have arrived meanwhile
            self._waiting[stream] = None

    def _put_back(self, batch: Sequence[_Stream]) -> None:
        """After a call that failed: chunks that have waited for too long are given up, the others wait for the next call."""
        due = current_time() - self._options.store_timeout
        for stream in batch:
            if stream.bodies and stream.since <= due:
                stream.end(NotTaken())
            elif stream in self._streams:
                self._waiting[stream] = None


def _append(stream: _Stream) -> ChunkAppend:
    run, first = stream.run, stream.window.stored + 1
    return ChunkAppend(task_id=run.task.id, attempt=run.attempt, first=first, bodies=stream.bodies)
