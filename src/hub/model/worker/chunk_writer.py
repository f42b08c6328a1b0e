"""Stores the chunks of streaming runs, those of many runs in one call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, final

from anyio import create_task_group, move_on_after

from hub.model.errors import ChunkTooLarge, StreamTooLarge
from hub.model.execution.chunk_window import ChunkWindow, WakeupPool
from hub.model.execution.wakeup import Crossing
from hub.model.worker.options import WorkerOptions
from hub.model.worker.retrying_batcher import NotTaken, RetryingBatcher
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
class ChunkWriter:
    """Takes the chunks of runs out of their windows and appends them to the streams in the store.

    While an append of a run is under way its next chunks gather in the window, so a slow store gets larger appends, not
    more of them. A run that yields nothing is compared with the store twice a second: no notification says that another run of
    its task has begun.

    Args:
        store: Where chunks go.
        instance: Id of the instance, for names of tasks.
        options: Limits.

    Attributes:
        stored: Chunks that the store has taken so far.
    """

    def __init__(self, store: ResultStore, *, instance: InstanceId, options: WorkerOptions) -> None:
        self._instance = instance
        self._options = options
        self._appends: RetryingBatcher[ChunkAppend, bool] = RetryingBatcher(
            store.append, timeout=options.store_timeout, name="chunks"
        )
        self._arrivals: Crossing[ChunkWindow] | None = None
        self._wakeups = WakeupPool()
        self.stored = 0

    async def work(self) -> None:
        """Appends until it is cancelled."""
        self._arrivals = arrivals = Crossing[ChunkWindow]()
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._appends.run, name=f"hub.chunks appends {self._instance}")
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
        """Stores the chunks of a run, in order, until the last one; counts them in `TaskRun.chunks`.

        Raises:
            ChunksRefused: The run is of no use any more.
            NotTaken: The store was away for `store_timeout`.
            StreamTooLarge: The chunks exceed `stream_limit`.
            ChunkTooLarge: One of them exceeds `result_limit`.
        """
        while True:
            bodies: list[bytes] | None = None
            with move_on_after(CHECK_PERIOD):
                bodies = await window.take()
            if bodies is None:
                await self._check(run, window)
            elif not bodies:
                return
            else:
                await self._append(run, window, bodies)
                window.mark_stored(bodies)
                run.chunks = window.stored
                self.stored += len(bodies)

    async def _check(self, run: TaskRun, window: ChunkWindow) -> None:
        """Asks the store whether a run that yields nothing is still the present one."""
        with suppress(NotTaken):  # it has nothing to lose yet
            await self._append(run, window, ())

    async def _append(self, run: TaskRun, window: ChunkWindow, bodies: Sequence[bytes]) -> None:
        first = window.stored + 1
        append = ChunkAppend(task_id=run.task.id, attempt=run.attempt, first=first, bodies=bodies)
        if not await self._appends.submit(append):
            raise ChunksRefused
