"""Asks the errors of a model for their texts, which is code of the model's author: it may take any time."""

from __future__ import annotations

from typing import Final

from anyio import CapacityLimiter, move_on_after
from anyio.to_thread import run_sync

from hub.observability.tracebacks import keep_text, related, runs_foreign_code, text_of_error

TIMEOUT: Final = 1.0
"""Seconds for all texts of an error and of its causes."""


async def read_texts(error: BaseException, threads: CapacityLimiter) -> None:
    """Reads what `text_of_error` will return for an error and its causes, off the event loop where foreign code is run.

    What is not known within `TIMEOUT` has a text that says so; its thread goes on, unheard.

    Args:
        error: What a model raised.
        threads: For threads with such code.
    """
    unread = [each for each, _ in related(error) if runs_foreign_code(each)]
    if unread:
        with move_on_after(TIMEOUT):
            for each in unread:
                await run_sync(text_of_error, each, abandon_on_cancel=True, limiter=threads)
    for each in unread:
        keep_text(each, f"(str() of this error took longer than {TIMEOUT:g} s)")
