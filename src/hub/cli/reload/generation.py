"""The process of one generation of the models of `hub up --reload`; the parent's side is `hub.cli.reload.models`."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from anyio import create_task_group, sleep_forever

from hub.cli.command import redactor
from hub.cli.load import load_model, summary_of
from hub.cli.reload.calls import CallClient, open_calls
from hub.cli.reload.frames import receive_first
from hub.cli.reload.remote import remote_broker, remote_store
from hub.concurrency.exceptions import collapse_exception_group
from hub.concurrency.process import STOP_LIMIT, leave, run_process
from hub.errors import HubError
from hub.model.instance.instance import run_instance
from hub.model.model import AnyModel
from hub.observability.logs import configure_logging
from hub.settings.up import UpSettings

CONTROL: Final = "control"
"""The target of the reports of a generation: its generation object in the parent."""


@dataclass(frozen=True, slots=True)
class GenerationInit:
    """The first message to the process.

    Attributes:
        targets: Models as `pkg.module:Class`.
        settings: Those of `hub up`, with the URL of its registry.
        channel: `ResultStore.channel` of its store.
    """

    targets: Sequence[str]
    settings: UpSettings
    channel: str


def run_generation(descriptor: int) -> int:
    """Loads the models, reports that, and runs one instance of each once the parent has stopped the generation before.

    A SIGTERM ends it: runs are handed back to their queues after `drain_grace` seconds.

    Args:
        descriptor: File descriptor of the socket to the parent.

    Returns:
        The exit code of the process.
    """
    connection = socket.socket(fileno=descriptor)
    init = receive_first(connection)
    if not isinstance(init, GenerationInit):
        raise TypeError(f"{init!r} is no first message")
    settings = init.settings
    configure_logging(settings.log_level, settings.log_format, redact=redactor(settings))
    failure = ""
    models: list[type[AnyModel]] = []
    try:
        models += [load_model(target) for target in init.targets]
    except HubError as error:
        failure = str(error)

    async def main() -> None:
        async with open_calls(connection) as calls:
            if failure:
                await calls.call(CONTROL, "failed", failure)
                return
            await calls.call(CONTROL, "loaded")
            try:
                with collapse_exception_group():
                    await _run_models(models, init, calls)
            except HubError as error:  # the parent prints it, and waits for the next change
                await calls.call(CONTROL, "failed", "\n".join([str(error), *getattr(error, "__notes__", ())]))

    return leave(run_process(main, backend=settings.backend, stop_limit=settings.drain_grace + STOP_LIMIT))


async def _run_models(models: Sequence[type[AnyModel]], init: GenerationInit, calls: CallClient) -> None:
    broker, store = remote_broker(calls), remote_store(calls, init.channel)
    async with create_task_group() as tg:
        for model in models:
            instance = partial(run_instance, model, init.settings, broker=broker, store=store)
            await tg.start(instance, name=f"hub.instance of {model.name}")
        await calls.call(CONTROL, "up", [summary_of(model) for model in models])
        await sleep_forever()
