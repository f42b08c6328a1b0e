"""The event loop of a process that runs on asyncio: uvloop's, which code of a model cannot end."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import structlog
import uvloop
from typing_extensions import override

_log = structlog.get_logger("hub.process")


@final
class ProcessLoop(uvloop.Loop):
    """Goes on when a task or a callback raises `SystemExit` or `KeyboardInterrupt`, in the block of `guarding`.

    asyncio lets these two end the loop, from wherever they come (`asyncio.Task` raises them again after it has stored
    them). So a `sys.exit()` in a task that a model started would end its process, or all of `hub up`. Whoever waits for
    the task still gets the error.
    """

    _guarding = False

    @classmethod
    @contextmanager
    def guarding(cls) -> Generator[None]:
        """For while signals are received by other means: otherwise a real Ctrl-C raises `KeyboardInterrupt` here, too."""
        cls._guarding = True
        try:
            yield
        finally:
            cls._guarding = False

    @override
    def run_forever(self) -> None:
        while True:
            try:
                super().run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                if not self._guarding:
                    raise
                _log.error(
                    "a task or a callback tried to end the process; the process goes on",
                    error=type(error).__name__,
                    exc_info=error,
                )
            else:
                return

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Does not wait for its threads: they may run code of a model. `hub.concurrency.process.leave` deals with them."""
