"""Reports the health of an instance, for pings."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, final

from anyio import current_time, move_on_after
from msgspec import Struct

from hub.contract import Contract
from hub.model.execution.model_method import ModelMethod
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import Model
from hub.model.worker.worker import Worker
from hub.safe_text import text_of
from hub.stats import InstanceStats
from hub.types import InstanceId

HEALTH_TIMEOUT: Final = 1.0
"""Seconds for `Model.health`: less than the registry waits for the answer to a ping."""

LOADING: Final = "its setup is running"
STARTING: Final = "it is starting"


class Ping(Struct, frozen=True, kw_only=True):
    """The reply to `GET /ping`.

    Attributes:
        instance: Id of the instance.
        model: Name of its model.
        consuming: Whether it receives tasks from the queue of its model.
        in_flight: Tasks that it works on.
        attempts: Runs that it has started.
        uptime_seconds: Seconds since it started.
        stats: Its work so far, in the numbers that its `/metrics` shows.
        reason: Why it cannot work; empty if it can.
        draining: Whether it is about to stop.
        loading: Whether its `setup` has not returned yet.
    """

    instance: str
    model: str
    consuming: bool
    in_flight: int
    attempts: int
    uptime_seconds: float
    stats: InstanceStats
    reason: str = ""
    draining: bool = False
    loading: bool = False


@final
class HealthReporter:
    """Reports the health of one instance, and keeps when the registry pinged last."""

    def __init__(
        self,
        model: Model[Any, Any],
        *,
        contract: Contract,
        instance: InstanceId,
        worker: Worker,
        loop: OwnLoop | None = None,
    ) -> None:
        self.model = model
        self.contract = contract
        self._instance = instance
        self._worker = worker
        self._health = None if _is_default(model) else ModelMethod(model, "health", loop=loop)
        self._loop = loop
        self._up_since = current_time()
        self._pinged_at = self._up_since
        self._loading = True
        self._has_setup = type(model).setup is not Model.setup  # pyright: ignore[reportUnknownMemberType]  # no arguments to know

    def ready(self) -> None:
        """Ends the state `loading`: `setup` has returned and tasks are received."""
        self._loading = False

    def pinged_at(self) -> float:
        """When the registry pinged last, or when this object was made, on the clock of `anyio.current_time`."""
        return self._pinged_at

    def mark_pinged(self) -> None:
        """Records a ping of the registry."""
        self._pinged_at = current_time()

    async def ping(self) -> Ping:
        """The state now. `reason` is set when the model's `health` raises, or when no tasks are received."""
        reason = await self._health_error() if self._worker.consuming else ""
        statistics = self._worker.statistics()  # after the wait, so that they are current
        loading = self._loading and not self._worker.stopping
        if loading:
            reason = LOADING if self._has_setup else STARTING
        elif not statistics.consuming:
            reason = "it is about to stop" if self._worker.stopping else "it receives nothing from the queue"
        return Ping(
            instance=self._instance,
            model=self.model.name,
            consuming=statistics.consuming and not loading,
            in_flight=statistics.in_flight,
            attempts=statistics.attempts,
            uptime_seconds=round(current_time() - self._up_since, 3),
            stats=statistics.stats(),
            reason=reason,
            draining=self._worker.stopping,
            loading=loading,
        )

    @property
    def hindrance(self) -> str | None:
        """Why tasks could not be brought to an end; see `Worker.hindrance`."""
        return self._worker.hindrance

    def resubscribe(self) -> bool:
        """Opens a new connection to the broker; see `Worker.resubscribe`."""
        return self._worker.resubscribe()

    async def _health_error(self) -> str:
        if self._health is None:
            return ""
        with move_on_after(HEALTH_TIMEOUT):
            try:
                await self._health.call()
            except Exception as error:  # noqa: BLE001 - whatever a model raises in `health` is its answer
                return text_of(partial("{}: {}".format, type(error).__qualname__, error))
            return ""
        if self._loop is not None and self._loop.seconds_behind() > 0:
            return ""  # its loop is held up by a task and `health` has not begun: that says nothing about the model
        return f"health took longer than {HEALTH_TIMEOUT:g} s"


def _is_default(model: Model[Any, Any]) -> bool:
    """Whether the model has no `health` of its own: then there is nothing to call in its event loop."""
    return getattr(model.health, "__func__", None) is Model.health  # pyright: ignore[reportUnknownMemberType]  # no arguments to know
