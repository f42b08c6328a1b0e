"""The client of a test: calls the models of `hub.testing.run`, and injects faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite
from typing import Any, Final, TypeVar, cast, final

from anyio import current_effective_deadline, current_time, get_cancelled_exc_class, move_on_after
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from hub.brokers.memory.broker import MemoryBroker
from hub.contract import Transcoder
from hub.contract.rules.compiled import compile_rules
from hub.errors import UnknownModel
from hub.model.model import AnyModel, Model, descriptor_of, messages_of
from hub.model.worker.worker import Worker
from hub.ports.broker import Publication
from hub.stores.memory.store import MemoryStore
from hub.submission.publisher import TaskPublisher
from hub.task import Task
from hub.testing.stream import CANCEL_GRACE, LocalStream
from hub.testing.task import LocalTask
from hub.types import Fingerprint, ModelName, WallClock, new_task_id

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp", bound=Message)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that `hub.testing.run` runs, with the workers of its instances."""

    model: type[AnyModel]
    fingerprint: Fingerprint
    workers: Sequence[Worker]


@final
class LocalClient:
    """Calls models that run in the same process; made by `hub.testing.run`.

    It does for a task what a gateway does: it checks the request against the rules of its `.proto` file, stores the task,
    puts it on the queue, and waits for its outcome. The three ways to use a model are those of the real client.

    The fault injectors take effect before they return: `lose_connection`, `redeliver`, `stall_store`.
    """

    def __init__(
        self,
        models: Mapping[ModelName, LocalModel],
        *,
        broker: MemoryBroker,
        store: MemoryStore,
        publisher: TaskPublisher,
        clock: WallClock,
    ) -> None:
        self._models = models
        self._broker = broker
        self._store = store
        self._publisher = publisher
        self._clock: Final = clock

    async def call(
        self,
        model: type[Model[Req, Resp]],
        request: Req,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - an option of the task, as for the real client
    ) -> Resp:
        """Sends a request as a task, waits for it, and returns its response.

        If the caller is cancelled the task is cancelled too. Its deadline is the earlier of `timeout` and the cancel scopes
        around the call.

        Args:
            model: The class of the model.
            request: Its request message.
            timeout: Seconds from now to the deadline of the task; by default `default_timeout` of the model, if it has one.

        Raises:
            TaskUnsuccessful: The task has ended without a response: `ModelFailed`, `DeadlineMissed`, `TaskWasCancelled`.
            BrokenRules: `request` breaks rules of its `.proto` file.
            UnknownModel: `run` was called without this model.
            TypeError: `request` is no request of the model, or the model streams.
            ValueError: `timeout` is not above 0, or above `max_timeout` of the model.
        """
        if model.streaming:
            raise TypeError(f"{model.name} streams its response: use client.stream({model.__name__}, request)")
        task = await self._submit(
            model, request, min(_seconds(model, timeout), current_effective_deadline() - current_time())
        )
        try:
            return await task.result()
        except get_cancelled_exc_class():
            with move_on_after(CANCEL_GRACE, shield=True):
                await task.cancel()
            raise

    async def submit(
        self,
        model: type[Model[Req, Resp]],
        request: Req,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as in `call`
    ) -> LocalTask[Resp]:
        """As `call`, but returns as soon as the task is on the queue. It goes on whatever happens to the caller.

        Raises:
            HubError: As `call` says, `TaskUnsuccessful` apart.
        """
        return await self._submit(model, request, _seconds(model, timeout))

    def stream(
        self,
        model: type[Model[Req, Resp]],
        request: Req,
        *,
        on_restart: Callable[[int], None] | None = None,
        timeout: float | None = None,
    ) -> LocalStream[Resp]:
        """The chunks of a model that yields, as they come. The task is made when the first chunk is asked for.

        ```python
        async with client.stream(Writer, request) as chunks:
            async for chunk in chunks:
                ...
        ```

        Args:
            model: The class of the model.
            request: Its request message.
            on_restart: Called with the number of a further attempt, whose chunks follow and make the ones so far void.
            timeout: As in `call`.

        Raises:
            TypeError: The model does not stream.
        """
        if not model.streaming:
            raise TypeError(f"{model.name} does not stream: use client.call({model.__name__}, request)")

        async def begin() -> LocalTask[Resp]:
            return await self._submit(model, request, _seconds(model, timeout))

        return LocalStream(begin, self._store, cancels=True, on_restart=on_restart)

    def lose_connection(self) -> None:
        """Breaks the connection of every instance to the broker, once; they subscribe again within a tenth of a second.

        Messages that are not acknowledged go back to their queues and are delivered again. Runs go on meanwhile, and a task
        whose run is in progress is not run twice.
        """
        with self._broker.outage():
            pass

    async def redeliver(self, task: LocalTask[Any]) -> None:
        """Has the broker deliver the message of a task again.

        If its run is in progress that ends, as when its instance is stopped: an `async def` is cancelled. The task is then run
        again, and `hub.current_task().attempt` is one more. A task that waits in the queue is on it twice, and runs once; one
        that has ended is not run again.
        """
        running = [worker for worker in self._models[task.model].workers if worker.hand_back(task.id)]
        if not running:
            message = task.message
            await self._broker.publish(
                [
                    Publication(
                        queue=message.model,
                        body=message.encode(),
                        message_id=message.id,
                        timestamp=message.created_at,
                    )
                ]
            )

    def stall_store(self, seconds: float) -> None:
        """Has the result store answer nothing for `seconds` from now on; then it does all that it was asked for.

        Meanwhile no task begins, no outcome is stored, and a model that streams waits at its `yield` once its window is full.
        Deadlines pass as usual. A later stall may extend an earlier one.
        """
        self._store.stall(seconds)

    async def _submit(self, model: type[Model[Any, Resp]], request: Message, seconds: float) -> LocalTask[Resp]:
        name = ModelName(model.name)
        local = self._models.get(name)
        if local is None or not issubclass(model, local.model):
            raise UnknownModel(name, next(iter(self._models), ""))
        expected, response = messages_of(model)
        if not isinstance(request, expected):
            raise TypeError(f"{name} takes a {expected.__qualname__}, not {type(request).__qualname__}")
        _transcoder(descriptor_of(expected)).check(request)
        now = self._clock()
        task = Task(
            id=new_task_id(),
            model=name,
            body=request.SerializeToString(deterministic=True),
            fingerprint=local.fingerprint,
            created_at=now,
            deadline=now + seconds if isfinite(seconds) else None,
            reply_channel=self._store.channel,
        )
        await self._publisher.publish(task)
        return LocalTask(
            task,
            cast("type[Resp]", response),  # by the type arguments of `model`
            streaming=model.streaming,
            store=self._store,
            clock=self._clock,
        )


def _seconds(model: type[AnyModel], timeout: float | None) -> float:
    """Seconds to the deadline of a task, as a gateway decides them."""
    if timeout is None:
        return model.default_timeout or model.max_timeout or inf
    if not 0 < timeout <= (model.max_timeout or inf):
        raise ValueError(f"timeout is {timeout!r}: it is above 0, and at most max_timeout of the model")
    return timeout


@lru_cache(256)
def _transcoder(message: Descriptor) -> Transcoder:
    return Transcoder(message, rules=compile_rules(message))
