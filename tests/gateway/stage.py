"""A gateway over the memory adapters, a registry that says what the test wants, and instances that answer at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast, final

from anyio import TASK_STATUS_IGNORED, Event, create_task_group, fail_after
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint
from httpx2 import ASGITransport, AsyncClient
from litestar import Litestar
from typing_extensions import override

from examples.digits.v1 import digits_pb2
from examples.model_a.v1 import model_a_pb2
from hub.brokers import open_broker
from hub.contract import Contract
from hub.errors import ConnectionLost
from hub.gateway.app import gateway_app
from hub.gateway.dashboard.overview import Overview
from hub.gateway.dashboard.sampler import OverviewSampler
from hub.gateway.dashboard.stats import ModelStats
from hub.gateway.models.catalog import Catalog
from hub.gateway.tasks.backpressure import QueueLimiter
from hub.gateway.tasks.congestion import Congestion
from hub.gateway.tasks.options import ResultTtls
from hub.gateway.tasks.service import TaskService
from hub.http.long_polling import LongPollRegistry
from hub.http.middleware.compression import COMPRESS_ABOVE
from hub.ports.broker import Broker, Consumer
from hub.ports.directory import HistoryEvent, ModelLimits
from hub.ports.result_store import ResultStore
from hub.registry.client.schemas import InstanceBody, StatsBody
from hub.registry.client.snapshot import KnownModel, ModelsSnapshot
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
    """A registry's watch in the hands of a test; it starts unreachable."""

    def __init__(self) -> None:
        self.connected = False
        self._known: dict[ModelName, KnownModel] = {}
        self._told = 0
        self._seen = 0
        self._news = Event()

    def tell(
        self,
        name: ModelName,
        contract: Contract,
        *,
        live: int = 1,
        example: str = "",
        limits: ModelLimits = ModelLimits(),
    ) -> None:
        """Says that a model has so many live instances (0: it is only remembered)."""
        counts: Mapping[InstanceState, int] = {InstanceState.LIVE: live} if live else {}
        self._known[name] = KnownModel(name=name, contract=contract, instances=counts, example=example, limits=limits)
        self.tell_again()

    def forget(self, name: ModelName) -> None:
        """The registry has lost a model, and all that it knew of it."""
        del self._known[name]
        self.tell_again()

    def tell_again(self) -> None:
        """Says what is known, changed or not."""
        self.connected = True
        self._told += 1
        self._news.set()

    @override
    def __aiter__(self) -> Self:
        return self

    @override
    async def __anext__(self) -> ModelsSnapshot:
        await self._news.wait()
        self._news = Event()
        self._seen = self._told
        return ModelsSnapshot(etag=f'"{self._told}"', models=dict(self._known))


@dataclass(kw_only=True)
class FakeRegistry:
    """What a registry answers to questions of the gateway."""

    listed: Sequence[InstanceBody] = ()
    told: StatsBody | None = None
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
        if self.error is not None or self.told is None:
            raise self.error or ConnectionLost("registry", "the test has not said anything")
        return self.told

    async def instances(self) -> Sequence[InstanceBody]:
        await checkpoint()
        if self.error is not None:
            raise self.error
        return self.listed


@dataclass(kw_only=True)
class Stage:
    """Everything that a test of the gateway touches."""

    broker: Broker
    store: ResultStore
    watch: FakeWatch
    catalog: Catalog
    dispatch: TaskService
    queues: QueueLimiter
    polls: LongPollRegistry
    observer: OverviewSampler
    figures: ModelStats
    registry: FakeRegistry
    app: Litestar
    client: AsyncClient
    tg: TaskGroup
    tasks: list[Task] = field(default_factory=list[Task])

    async def model(
        self,
        name: ModelName = MODEL_A,
        contract: Contract = CONTRACT_A,
        *,
        live: int = 1,
        answer: Answer | None = None,
        limits: ModelLimits = ModelLimits(),
    ) -> None:
        """Makes a model known, with a queue, and with a consumer if `answer` is given; returns when it is served."""
        await self.broker.declare(name)
        if answer is not None:
            await self.tg.start(self._instance, name, answer, name=f"hub.test instance {name}")
        await self.tell(name, contract, live=live, limits=limits)

    async def tell(
        self, name: ModelName, contract: Contract, *, live: int, example: str = "", limits: ModelLimits = ModelLimits()
    ) -> None:
        self.watch.tell(name, contract, live=live, example=example, limits=limits)
        with fail_after(5):
            await self.catalog.changed()

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
            self.tasks.append(task)
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


@asynccontextmanager
async def open_stage(
    *,
    keys: tuple[str, ...] = (),
    token: str = "",
    body_limit: int = 100_000,
    call_wait: float = 5,
    step_timeout: float = 5,
    queue_limit: int = 0,
    busy_after: float = 0,
    ttls: ResultTtls | None = None,
    cancel_on_disconnect: bool = True,
    compress_above: int = COMPRESS_ABOVE,
    cors_origins: frozenset[str] = frozenset(),
    root_path: str = "",
    clock: WallClock = wall_clock,
    broker: Broker | None = None,
    store: ResultStore | None = None,
) -> AsyncGenerator[Stage]:
    """A gateway with no model yet; its registry counts as unreachable until `Stage.model` is called."""
    watch, polls = FakeWatch(), LongPollRegistry()
    catalog = Catalog(watch)
    async with open_broker("memory://") as own_broker, open_store("memory://") as own_store:
        broker, store = broker or own_broker, store or own_store
        dispatch = TaskService(
            broker, store, timeout=step_timeout, polls=polls, congestion=Congestion(busy_after), clock=clock
        )
        queues = QueueLimiter(catalog, broker, dispatch.run_times, limit=queue_limit)
        registry = FakeRegistry()
        figures = ModelStats(registry, dispatch.verdicts)
        observer = OverviewSampler(catalog, Overview(catalog, queues, figures, clock))
        app = gateway_app(
            catalog,
            dispatch,
            queues,
            broker=broker,
            store=store,
            polls=polls,
            observer=observer,
            registry=registry,
            keys=keys,
            token=token,
            body_limit=body_limit,
            call_wait=call_wait,
            ttls=ttls,
            cancel_on_disconnect=cancel_on_disconnect,
            compress_above=compress_above,
            cors_origins=cors_origins,
            root_path=root_path,
        )
        transport = ASGITransport(app=cast("Any", app), raise_app_exceptions=False)  # each has its own ASGI types
        async with (
            dispatch,
            AsyncClient(transport=transport, base_url="http://hub.localhost") as client,
            create_task_group() as tg,
        ):
            tg.start_soon(catalog.follow, name="hub.test catalog")
            tg.start_soon(queues.watch, name="hub.test queues")
            yield Stage(
                broker=broker,
                store=store,
                watch=watch,
                catalog=catalog,
                dispatch=dispatch,
                queues=queues,
                polls=polls,
                observer=observer,
                figures=figures,
                registry=registry,
                app=app,
                client=client,
                tg=tg,
            )
            tg.cancel_scope.cancel("test is over")
