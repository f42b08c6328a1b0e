"""Cancelling a scenario at its first checkpoint, at its second, and so on until it gets through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.lowlevel import checkpoint

ROUNDS = 500
"""More rounds of the event loop than any scenario takes."""


async def cancelled_after(scenario: Callable[[], Awaitable[None]], rounds: int) -> bool:
    """Runs `scenario`, and cancels it after some rounds of the event loop. Returns whether it got through before."""
    through = False

    async def run() -> None:
        nonlocal through
        await scenario()
        through = True

    async with anyio.create_task_group() as tg:
        tg.start_soon(run, name="hub.test scenario")
        for _ in range(rounds):
            await checkpoint()
        tg.cancel_scope.cancel("sweep")
    return through


async def sweep(scenario: Callable[[], Awaitable[None]], invariant: Callable[[], Awaitable[None]]) -> int:
    """Cancels at every checkpoint in turn and asks for the invariant each time. Returns how often it cancelled."""
    for rounds in range(ROUNDS):
        through = await cancelled_after(scenario, rounds)
        await invariant()
        if through:
            return rounds
    raise AssertionError("the scenario never got through")
