"""What a server has to take from this instance, and may not be able to take right now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar, final

import structlog
from anyio import Event, current_time, fail_after, sleep
from structlog.typing import FilteringBoundLogger

from hub.concurrency.retrying import AttemptLog, ExponentialBackoff
from hub.errors import HubError

GROUP_LIMIT: Final = 256
"""Items in one call at most."""

T = TypeVar("T")
R = TypeVar("R")

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class Backlog(Generic[T, R]):
    """Takes items at once, and one task brings whatever has gathered while the last call was under way to the server.

    While the server is out of reach items stay here and are tried again; what has waited for `timeout` is given up.
    Each item is either settled or given up, once, and never before the server has answered for it.

    Args:
        carry: Brings items to the server; answers for each of them, in order. May be repeated with the same items.
        settle: Called with an item and its answer.
        give_up: Called with an item that the server could not take in time.
        timeout: Seconds that an item may wait.
        what: What the items are, for the log.
    """

    def __init__(
        self,
        carry: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        settle: Callable[[T, R], None],
        give_up: Callable[[T], None],
        timeout: float,
        what: str,
    ) -> None:
        self._carry = carry
        self._settle = settle
        self._give_up = give_up
        self._timeout = timeout
        self._attempts = AttemptLog(what, failing=f"{what} not taken, trying again")
        self._since: dict[T, float] = {}  # oldest first
        self._work = Event()

    def __len__(self) -> int:
        return len(self._since)

    def put(self, item: T) -> None:
        self._since[item] = current_time()
        self._work.set()

    def give_up(self) -> None:
        """Gives up everything that is here; for the end of a drain."""
        self._abandon(list(self._since))

    async def work(self) -> None:
        """Brings items to the server until it is cancelled. A cancelled call keeps its items here."""
        while True:
            await self._work.wait()
            delays = ExponentialBackoff().intervals()
            while self._since:
                group = list(islice(self._since, GROUP_LIMIT))  # they stay in until they are answered for
                try:
                    with fail_after(self._timeout):
                        answers = await self._carry(group)
                except (HubError, TimeoutError) as error:
                    delay = next(delays)
                    reason = str(error) or f"no answer for {self._timeout:g} s"
                    self._attempts.failed(reason, delay)
                    due = current_time() - self._timeout
                    self._abandon([item for item, since in self._since.items() if since <= due])
                    await sleep(delay)
                else:
                    self._attempts.succeeded()
                    delays = ExponentialBackoff().intervals()
                    for item, answer in zip(group, answers, strict=True):
                        if self._since.pop(item, None) is not None:  # else it was given up meanwhile
                            self._settle(item, answer)
            self._work = Event()

    def _abandon(self, items: Sequence[T]) -> None:
        for item in items:
            del self._since[item]
            self._give_up(item)
