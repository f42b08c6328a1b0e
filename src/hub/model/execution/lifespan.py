"""The life of a model object: it is created, set up, and torn down in the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from anyio import CancelScope, move_on_after
from structlog.typing import FilteringBoundLogger

from hub.model.errors import ModelNotStarted
from hub.model.execution.error_text import error_summary
from hub.model.execution.exits import exits_as_errors
from hub.model.execution.model_method import ModelMethod, running_threads
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import AnyModel, Model
from hub.observability.code_origin import add_model

TEARDOWN_GRACE: Final = 10.0
"""Seconds for `teardown`: enough to flush and close, too short to be mistaken for a hang."""

THREAD_GRACE: Final = 1.0
"""Seconds that `teardown` waits for threads in which other methods still run: enough to check `current_task().cancelled`."""

_log: FilteringBoundLogger = structlog.get_logger(__name__)


def create_model(model: type[AnyModel]) -> AnyModel:
    """Creates the object of a model class.

    Raises:
        ModelNotStarted: Its `__init__` raised.
    """
    try:
        with exits_as_errors("__init__"):
            created = model()
    except Exception as error:
        raise ModelNotStarted(model.name, "__init__", error_summary(error)) from error
    return created


@asynccontextmanager
async def lifespan(
    model: AnyModel, *, loop: OwnLoop | None = None, grace: float = TEARDOWN_GRACE
) -> AsyncGenerator[None]:
    """Calls `setup` of a model, and `teardown` after the block, also if `setup` failed or was cancelled.

    The teardown is shielded from cancellation and has `TEARDOWN_GRACE` seconds. No other method runs at the same time: a
    plain `def` whose caller was cancelled continues in its thread, and the teardown waits for it, or is skipped if that
    takes too long. Nothing is called for a model with `run_in_process`: its processes do that.

    Args:
        model: The model.
        loop: The event loop of its coroutines; `None` for that of the caller.
        grace: Seconds to wait for a `setup` that still runs; no more than `TEARDOWN_GRACE`. For other methods it is
            `THREAD_GRACE`.

    Raises:
        ModelNotStarted: `setup` raised.
        Exception: Whatever `teardown` raised; see `ModelMethod.call`.
    """
    add_model(type(model), model.name)
    if model.run_in_process:
        yield
        return
    try:
        try:
            await _call(model, "setup", loop)
        except Exception as error:
            raise ModelNotStarted(model.name, "setup", error_summary(error)) from error
        yield
    finally:
        with CancelScope(shield=True):
            await _tear_down(model, loop, min(grace, TEARDOWN_GRACE))


async def _call(model: AnyModel, method: str, loop: OwnLoop | None) -> None:
    """Calls a method without arguments; the one of `Model` itself does nothing, and needs no thread for that."""
    if getattr(getattr(model, method), "__func__", None) is not getattr(Model, method):
        await ModelMethod(model, method, loop=loop).call()


async def _tear_down(model: AnyModel, loop: OwnLoop | None, setup_grace: float) -> None:
    busy = [thread for thread in running_threads.copy() if thread.model is model]
    if busy:
        grace = setup_grace if any(thread.name == "setup" for thread in busy) else THREAD_GRACE
        names = [thread.name for thread in busy]
        _log.info("waiting for threads of the model, before teardown", model=model.name, methods=names, seconds=grace)
        with move_on_after(grace):
            for thread in busy:
                await thread.abandon().wait()
        names = [thread.name for thread in busy if not thread.ended]
        if names:
            _log.warning("teardown is skipped: other methods are still running", model=model.name, methods=names)
            return
    with move_on_after(TEARDOWN_GRACE) as bound:
        await _call(model, "teardown", loop)
    if bound.cancelled_caught:
        _log.warning("teardown was cancelled at its limit", model=model.name, seconds=TEARDOWN_GRACE)
