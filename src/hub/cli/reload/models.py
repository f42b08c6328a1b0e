"""The models of `hub up --reload`: a process for each generation of their code, and a scope for each process.

Registry, gateway, broker and store stay in the process of `hub up`, and with them the tasks. A change of a file starts a
process that imports the new code. If that fails, the old code goes on. Otherwise the old process gets a SIGTERM, hands its
runs back to their queues, and ends; then the new one logs in and takes them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from typing import Final, final

import structlog
from anyio import CancelScope, Event, create_task_group
from anyio.abc import TaskStatus
from structlog.typing import FilteringBoundLogger

from hub.cli.children import GENERATION, MARGIN, exit_code, open_child
from hub.cli.load import ModelSummary
from hub.cli.reload.frames import encode
from hub.cli.reload.generation import CONTROL, GenerationInit
from hub.cli.reload.remote import BROKER, STORE
from hub.cli.reload.server import CallServer
from hub.cli.reload.sources import ChangedFiles, build_protos, watched_folders
from hub.concurrency.notify import Notifier
from hub.concurrency.process import STOP_LIMIT
from hub.concurrency.services import background_service
from hub.errors import ConfigurationError
from hub.ports.broker import Broker
from hub.ports.result_store import ResultStore
from hub.settings.up import UpSettings

DRAIN_GRACE: Final = 0.0
"""Seconds that runs of the old code have to finish: they are handed back, and the new code runs them again."""

_log: FilteringBoundLogger = structlog.get_logger("hub.reload")


class GenerationState(Enum):
    LOADING = auto()
    LOADED = auto()
    UP = auto()
    FAILED = auto()
    ENDED = auto()
    """The process has ended without a report of a failure."""


@final
class Generation:
    """One generation of the code of the models, and the reports of its process.

    Args:
        init: What the process gets first.
        broker: Called by the process.
        store: Called by the process.
        notifier: Notified after each change of `state`.

    Attributes:
        failure: Why the state is `FAILED`, in lines.
        models: What is up; empty before.
        began: When its process was started, in nanoseconds since the epoch.
    """

    def __init__(self, init: GenerationInit, *, broker: Broker, store: ResultStore, notifier: Notifier) -> None:
        self.state = GenerationState.LOADING
        self.failure = ""
        self.models: Sequence[ModelSummary] = ()
        self.began = time.time_ns()
        self._init = init
        self._targets = {CONTROL: self, BROKER: broker, STORE: store}
        self._notifier = notifier
        self._scope = CancelScope()
        self._begin = Event()
        self._over = Event()

    async def run(self) -> None:
        """Runs the process until it ends, or `stop` is called; never raises because of the code of the models."""
        try:
            with self._scope:
                await self._run()
        finally:
            if self.state is not GenerationState.FAILED:
                self._change(GenerationState.ENDED)
            self._over.set()

    async def _run(self) -> None:
        with ExitStack() as ends:
            own, child = (ends.enter_context(end) for end in socket.socketpair())
            own.sendall(encode(self._init))  # a few kilobytes, which the socket holds until the process reads them
            grace = self._init.settings.drain_grace + STOP_LIMIT + MARGIN
            server = CallServer(own, self._targets)
            # Around the process: its drain calls broker and store until it has ended.
            async with background_service(server.serve, name="calls of the models"):
                descriptor = child.fileno()
                async with open_child(GENERATION, str(descriptor), grace=grace, pass_fds=[descriptor]) as process:
                    child.close()
                    await process.wait()
                    if self.state is not GenerationState.FAILED:
                        self.failure = f"the process of the models has ended with exit code {exit_code(process)}"
                        self._change(GenerationState.FAILED)

    def begin(self) -> None:
        """Lets a process that has loaded its models run them."""
        self._begin.set()

    async def stop(self) -> None:
        """Ends the process, which hands its runs back, and waits for that."""
        self._scope.cancel("a newer generation has been loaded")
        await self._over.wait()

    async def loaded(self) -> None:
        """The process has loaded its models; returns when it may run them."""
        self._change(GenerationState.LOADED)
        await self._begin.wait()

    async def up(self, models: Sequence[ModelSummary]) -> None:
        """All models of the process are logged in."""
        self.models = models
        self._change(GenerationState.UP)

    async def failed(self, text: str) -> None:
        """The models cannot be loaded, or an instance has failed; the process ends."""
        self.failure = text
        self._change(GenerationState.FAILED)

    def _change(self, state: GenerationState) -> None:
        self.state = state
        self._notifier.notify()


async def run_reloaded(
    targets: Sequence[str],
    settings: UpSettings,
    *,
    broker: Broker,
    store: ResultStore,
    task_status: TaskStatus[Sequence[ModelSummary]],
) -> None:
    """Runs one instance of each model until it is cancelled, and again with new code after each change of a file.

    Args:
        targets: Models as `pkg.module:Class`.
        settings: Those of `hub up`.
        broker: Open.
        store: Open.
        task_status: Started when all models are up for the first time.

    Raises:
        ConfigurationError: The first generation cannot be loaded or started. Later ones are named in the log only.
    """
    init = GenerationInit(targets, replace(settings, drain_grace=DRAIN_GRACE), store.channel)
    files = ChangedFiles()
    make = partial(Generation, init, broker=broker, store=store, notifier=files.notifier)
    async with create_task_group() as tg:
        folders = watched_folders(targets)
        if folders:
            tg.start_soon(files.watch, folders, name="hub.reload watch")
        current = make()
        tg.start_soon(current.run, name="hub.reload models")
        await _until_up(current, files)
        if current.state is not GenerationState.UP:
            raise ConfigurationError(current.failure)
        task_status.started(current.models)
        _log.info("reloading when a file changes", folders=", ".join(map(str, folders)))
        while True:
            await _next_change(files, current)
            newer = make()
            tg.start_soon(newer.run, name="hub.reload models")
            await files.notifier.wait_for(lambda: newer.state is not GenerationState.LOADING)  # noqa: B023 - awaited here
            if newer.state is not GenerationState.LOADED:
                _complain("the new code cannot be loaded, so the old code goes on", newer.failure)
                current.began = newer.began
                continue
            await current.stop()
            current = newer
            await _until_up(current, files)
            if current.state is GenerationState.UP:
                seconds = (time.time_ns() - current.began) / 1e9
                _log.info(
                    "reloaded", models=", ".join(model.name for model in current.models), seconds=round(seconds, 2)
                )


async def _until_up(generation: Generation, files: ChangedFiles) -> None:
    """Lets a generation run its models, and waits until they are up, have failed, or a file has changed again."""
    generation.begin()
    busy = {GenerationState.LOADING, GenerationState.LOADED}
    await files.notifier.wait_for(lambda: generation.state not in busy or files.since(generation.began))


async def _next_change(files: ChangedFiles, current: Generation) -> None:
    """Waits until files have changed since a generation began and their modules are built; names a failure meanwhile."""
    named = False

    def happened() -> bool:
        return bool(files.since(current.began)) or (current.state is GenerationState.FAILED and not named)

    while True:
        await files.notifier.wait_for(happened)
        changed = list(files.since(current.began))
        if not changed:
            named = True
            _complain("the models have ended; waiting for a change of their files", current.failure)
            continue
        files.forget()
        _log.info("files have changed", files=", ".join(sorted(map(str, changed))))
        errors = await build_protos(changed)
        if not errors:
            return
        _complain("the .proto files cannot be built, so the old code goes on", errors)


def _complain(what: str, reason: str) -> None:
    first, *more = reason.splitlines() or [""]
    _log.error(f"{what}: {first}", lines=more)
