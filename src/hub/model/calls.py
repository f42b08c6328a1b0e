"""Calls the methods of a model, whichever way its author wrote them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, Final

from anyio import CapacityLimiter, move_on_after
from anyio.to_thread import run_sync

from hub.model.blame import blamed
from hub.model.errors import ModelNotStarted
from hub.model.model import Model

TEARDOWN_GRACE: Final = 10.0
"""Seconds for `teardown`: enough to flush and close, not enough to look like a hang."""


def made(model: type[Model[Any, Any]]) -> Model[Any, Any]:
    """Makes a model.

    Raises:
        ModelNotStarted: Its `__init__` raised.
    """
    try:
        return model()
    except (Exception, SystemExit) as error:
        raise ModelNotStarted(model.name, "__init__", blamed(error)) from error


@asynccontextmanager
async def loaded(model: Model[Any, Any]) -> AsyncGenerator[None]:
    """Sets the model up, and tears it down in the end, also when `setup` failed or was cancelled.

    The teardown is shielded from cancellation and has `TEARDOWN_GRACE` seconds. A plain `setup` that is cancelled goes
    on in its thread, unheard. A model with `run_in_process` is left alone: its processes do all that.

    Raises:
        ModelNotStarted: `setup` raised.
    """
    if model.run_in_process:
        yield
    else:
        try:
            try:
                await _call(model.setup)
            except (Exception, SystemExit) as error:
                raise ModelNotStarted(model.name, "setup", blamed(error)) from error
            yield
        finally:
            with move_on_after(TEARDOWN_GRACE, shield=True):
                await _call(model.teardown)


async def _call(method: Callable[[], Awaitable[None] | None]) -> None:
    if iscoroutinefunction(method):
        await method()
    else:
        await run_sync(method, abandon_on_cancel=True, limiter=CapacityLimiter(1))
