"""A gateway over the memory adapters, with a fake registry, and fake instances that answer at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self, cast, final

from anyio import TASK_STATUS_IGNORED, create_task_group, fail_after
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint
from httpx2 import ASGITransport, AsyncClient
from litestar import Litestar
from litestar.di import Provide
from litestar.types import Receive, Scope, Send
from typing_extensions import override

from examples.digits.v1 import digits_pb2
from examples.model_a.v1 import model_a_pb2
from hub.brokers import open_broker
from hub.concurrency.notify import Notifier
from hub.contract import Contract
from hub.contract.comments import Comments
from hub.errors import ConnectionLost
from hub.gateway.app import GatewayParts, gateway_routes, injected, with_gateway_edge
from hub.gateway.service import build_gateway
from hub.ports.broker import Broker, Consumer
from hub.ports.directory import HistoryEvent, ModelLimits
from hub.ports.result_store import ResultStore
from hub.registry.client.schemas import InstanceBody, StatsBody
from hub.registry.client.snapshot import KnownModel, ModelsSnapshot
from hub.settings.gateway import GatewaySettings
from hub.stores import open_store
from hub.task import Failure, Outcome, Task
from hub.types import Fingerprint, InstanceId, InstanceState, ModelName, TaskState, WallClock, wall_clock

MODEL_A = ModelName("ModelA")
DIGITS = ModelName("Digits")
INSTANCE = InstanceId("01890000-0000-7000-8000-000000000001")
CONTRACT_A = Contract.from_descriptors(model_a_pb2.ModelARequest.DESCRIPTOR, model_a_pb2.ModelAResponse.DESCRIPTOR)
CONTRACT_DIGITS = Contract.from_descriptors(digits_pb2.DigitsRequest.DESCRIPTOR, digits_pb2.DigitsResponse.DESCRIPTOR)

Answer = Callable[[bytes], bytes | Failure]
"""What a fake instance does with a request: a serialized response, or a failure."""


def echo_a(body: bytes) -> bytes:
    request = model_a_pb2.ModelARequest.FromString(body)
    return model_a_pb2.ModelAResponse(reply=f"Processed message: {request.messages}\n").SerializeToString()


@final
class FakeWatch(AsyncIterator[ModelsSnapshot]):
    """A registry's watch whose lists a test sets; it starts unreachable."""

    def __init__(self) -> None:
        self.connected = False
        self._known: dict[ModelName, KnownModel] = {}
        self._sent = 0
        self._received = 0
        self._changed = Notifier()

    def add(
        self,
        name: ModelName,
        contract: Contract,
        *,
        live: int = 1,
        example: str = "",
        limits: ModelLimits = ModelLimits(),
        comments: Comments = (),
    ) -> None:
        """Sends a list in which the model has so many live instances (0: it is only remembered)."""
        counts: Mapping[InstanceState, int] = {InstanceState.LIVE: live} if live else {}
        self._known[name] = KnownModel(
            name=name, contract=contract, instances=counts, example=example, limits=limits, comments=comments
        )
        self.send()

    def forget(self, name: ModelName) -> None:
        """Sends a list without the model."""
        del self._known[name]
        self.send()

    def send(self) -> None:
        """Sends the list, changed or not."""
        self.connected = True
        self._sent += 1
        self._changed.notify()

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> ModelsSnapshot:
        await self._changed.wait_for(lambda: self._sent > self._received)
        self._received = self._sent
        return ModelsSnapshot(etag=f'"{self._sent}"', models=dict(self._known))


@dataclass(kw_only=True)
class FakeRegistry:
    """A registry with the replies that a test sets."""

    instance_list: Sequence[InstanceBody] = ()
    stats_reply: StatsBody | None = None
    events: Sequence[HistoryEvent] = ()
    error: Exception | None = None
    contracts: dict[Fingerprint, Contract] = field(default_factory=dict[Fingerprint, Contract])

    async def contract(self, model: ModelName, fingerprint: Fingerprint) -> Contract | None:  # noqa: ARG002
        await checkpoint()
        if self.error is not None:
            raise self.error
        return self.contracts.get(fingerprint)

    async def history(self, *, model: ModelName | None = None, limit: int = 100) -> Sequence[HistoryEvent]:
        await checkpoint()
        if self.error is not None:
            raise self.error
        return [event for event in self.events if model in {None, event.model}][:limit]

    async def stats(self) -> StatsBody:
        await checkpoint()
        if self.error is not None or self.stats_reply is None:
            raise self.error or ConnectionLost("registry", "the test has set no reply")
        return self.stats_reply

    async def instances(self) -> Sequence[InstanceBody]:
        await checkpoint()
        if self.error is not None:
            raise self.error
        return self.instance_list


@dataclass(kw_only=True)
class LocalGateway:
    """Everything that a test of the gateway uses.

    Attributes:
        received: The tasks that the fake instances have received.
    """

    parts: GatewayParts
    broker: Broker
    store: ResultStore
    watch: FakeWatch
    registry: FakeRegistry
    app: Litestar
    client: AsyncClient
    tg: TaskGroup
    received: list[Task] = field(default_factory=list[Task])

    async def model(
        self,
        name: ModelName = MODEL_A,
        contract: Contract = CONTRACT_A,
        *,
        live: int = 1,
        answer: Answer | None = None,
        limits: ModelLimits = ModelLimits(),
    ) -> None:
        """Adds a model with a queue, and with a fake instance if `answer` is given; returns when it is served."""
        await self.broker.declare(name)
        if answer is not None:
            await self.tg.start(self._instance, name, answer, name=f"hub.test instance {name}")
        await self.list_model(name, contract, live=live, limits=limits)

    async def list_model(
        self, name: ModelName, contract: Contract, *, live: int, example: str = "", limits: ModelLimits = ModelLimits()
    ) -> None:
        self.watch.add(name, contract, live=live, example=example, limits=limits)
        with fail_after(5):
            await self.parts.catalog.changed()

    async def _instance(
        self, name: ModelName, answer: Answer, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        async with self.broker.consume(name, prefetch=16) as consumer:
            task_status.started()
            while True:
                await self._work(consumer, answer)

    async def _work(self, consumer: Consumer, answer: Answer) -> None:
        for delivery in await consumer.receive():
            task = Task.decode(delivery.body)
            self.received.append(task)
            (start,) = await self.store.start([task], INSTANCE, attempts=5)
            if start.state is TaskState.RUNNING:
                outcome = Outcome(
                    task_id=task.id,
                    state=TaskState.SUCCEEDED,
                    body=b"",
                    attempt=start.attempt,
                    instance=INSTANCE,
                    started_at=wall_clock(),
                    finished_at=wall_clock(),
                )
                match answer(task.body):
                    case Failure() as failure:
                        outcome = replace(outcome, state=TaskState.FAILED, body=None, failure=failure)
                    case body:
                        outcome = replace(outcome, body=body)
                await self.store.finish([outcome])
            consumer.ack([delivery])


_parts: ContextVar[GatewayParts] = ContextVar("parts of the gateway that handles this request")


@cache
def _routes(keys: tuple[str, ...], token: str, body_limit: int, names: tuple[str, ...]) -> Litestar:
    """Routes that all gateways share, since creating them takes longer than most tests; see `_app`."""

    def provide(name: str) -> Provide:
        return Provide(lambda: injected(_parts.get())[name], sync_to_thread=False)

    return gateway_routes(keys, token, body_limit, {name: provide(name) for name in names})


def _app(parts: GatewayParts) -> Litestar:
    """Like `gateway_app`, in a tenth of the time."""
    settings = parts.settings
    app = copy(_routes(settings.keys, settings.token, settings.body_limit, tuple(injected(parts))))
    routes = app.asgi_handler

    async def with_parts(scope: Scope, receive: Receive, send: Send) -> None:
        token = _parts.set(parts)
        try:
            await routes(scope, receive, send)
        finally:
            _parts.reset(token)

    app.asgi_handler = with_parts
    return with_gateway_edge(app, parts)


@asynccontextmanager
async def open_gateway(
    *,
    clock: WallClock = wall_clock,
    broker: Broker | None = None,
    store: ResultStore | None = None,
    **settings: Any,
) -> AsyncGenerator[LocalGateway]:
    """A gateway without a model; its registry counts as unreachable until `LocalGateway.model` is called.

    Args:
        clock: Dates tasks and samples.
        broker: In place of a memory broker.
        store: In place of a memory store.
        settings: Those of `GatewaySettings` that are not the default of these tests.
    """
    defaults: dict[str, Any] = {"body_limit": 100_000, "call_wait": 5, "queue_limit": 0, "busy_after": 0}
    watch, registry = FakeWatch(), FakeRegistry()
    async with open_broker("memory://") as own_broker, open_store("memory://") as own_store:
        parts = build_gateway(
            GatewaySettings(**{**defaults, **settings}),
            broker=broker or own_broker,
            store=store or own_store,
            watch=watch,
            registry=registry,
            clock=clock,
        )
        app = _app(parts)
        transport = ASGITransport(app=cast("Any", app), raise_app_exceptions=False)  # each has its own ASGI types
        async with (
            parts.tasks,
            AsyncClient(transport=transport, base_url="http://hub.localhost") as client,
            create_task_group() as tg,
        ):
            tg.start_soon(parts.catalog.run, name="hub.test catalog")
            tg.start_soon(parts.queues.run, name="hub.test queues")
            yield LocalGateway(
                parts=parts,
                broker=broker or own_broker,
                store=store or own_store,
                watch=watch,
                registry=registry,
                app=app,
                client=client,
                tg=tg,
            )
            tg.cancel_scope.cancel("test is over")
