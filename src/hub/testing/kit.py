"""`hub.testing.run`: models with hub's own worker, and a broker and a store in memory."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Final, final

import structlog
from anyio import get_cancelled_exc_class
from typing_extensions import override

from hub.brokers.memory.broker import MemoryBroker
from hub.concurrency.exceptions import iterate_exceptions
from hub.contract import Contract
from hub.errors import ConfigurationError, UnknownModel
from hub.model.errors import ChildError, ModelNotStarted
from hub.model.execution.error_text import error_summary
from hub.model.execution.lifespan import create_model, lifespan
from hub.model.execution.own_loop import OwnLoop
from hub.model.model import AnyModel, require_process_request
from hub.model.worker.calls.child_tasks import CalledModels
from hub.model.worker.options import WorkerOptions
from hub.model.worker.worker import Worker
from hub.observability.code_origin import without_ours
from hub.observability.log_lines import LineRenderer
from hub.ports.directory import ModelLimits
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.submission.publisher import TaskPublisher
from hub.testing.client import LocalClient, LocalModel
from hub.testing.virtual_time import in_virtual_time, virtual_clock
from hub.types import ModelName, WallClock, model_name, new_instance_id, wall_clock

PUBLISH_TIMEOUT: Final = 10.0
"""Seconds that a submit waits for a store that is stalled, as at a gateway."""

OPTIONS: Final = WorkerOptions(drain_grace=0.0)
"""The limits of the embedded hub; at the end of the block no run is waited for."""

_WARNING: Final = 30


@asynccontextmanager
async def run(*models: type[AnyModel], virtual_time: bool = False) -> AsyncGenerator[LocalClient]:
    """Runs models while the block runs, without a server: one instance for each class that is given, as often as it is given.

    Each model has its own event loop, threads or processes, as in `hub model`: `setup` is called at the beginning, `teardown`
    at the end, and what still runs then is cancelled. A broker and a store in memory take the place of RabbitMQ and Redis; the
    worker between them is the one of production. Models that call each other are given together.

    An error of the block leaves it as it is, not in an `ExceptionGroup`.

    Args:
        models: The classes; two of one name are two instances if they are the same class.
        virtual_time: Time passes only while all tasks wait, and then at once. The event loop of the test must have such a clock
            (`virtual_backend`), and models run in it, so their methods must be `async def`. `time.time()` stays real.

    Raises:
        ConfigurationError: No class, a class without `process_request`, two classes with one name, or an event loop in virtual
            time without `virtual_time`.
        ModelNotStarted: `__init__` or `setup` of a model raised.
        VirtualTimeUnavailable: See `virtual_time`.
    """
    __tracebackhide__ = True  # pytest shows the frames of the test, and those of the model
    known = _by_name(models)
    if in_virtual_time() and not virtual_time:
        raise ConfigurationError(
            "the event loop is in virtual time, so the models have to be: run(..., virtual_time=True)"
        )
    clock = virtual_clock(models) if virtual_time else wall_clock
    with _OutsideOfGroups(models), _short_log():
        async with (
            MemoryBroker() as broker,
            MemoryStore(StoreOptions(clock=clock)) as store,
            TaskPublisher(broker, store, timeout=PUBLISH_TIMEOUT) as publisher,
            AsyncExitStack() as stack,
        ):
            running: dict[ModelName, LocalModel] = {}
            workers: dict[ModelName, list[Worker]] = {name: [] for name in known}
            for model in models:
                instance = _instance(model, broker, store, known, clock, own_loop=not virtual_time)
                worker, contract = await stack.enter_async_context(instance)
                name = ModelName(model.name)
                workers[name].append(worker)
                running[name] = LocalModel(model, contract.fingerprint, workers[name])
            yield LocalClient(running, broker=broker, store=store, publisher=publisher, clock=clock)


@asynccontextmanager
async def _instance(
    model: type[AnyModel],
    broker: MemoryBroker,
    store: MemoryStore,
    known: Mapping[ModelName, type[AnyModel]],
    clock: WallClock,
    *,
    own_loop: bool,
) -> AsyncGenerator[tuple[Worker, Contract]]:
    """One instance, from `__init__` to `teardown`."""
    served = create_model(model)
    formats = served.get_request_format(), served.get_response_format()
    contract = Contract.from_descriptors(*formats, streaming=served.streaming)
    async with AsyncExitStack() as stack:
        loop: OwnLoop | None = None
        if own_loop and not served.shares_loop and not served.run_in_process:
            loop = await stack.enter_async_context(OwnLoop(model.name))
        await stack.enter_async_context(lifespan(served, loop=loop))
        worker = Worker(
            served,
            contract=contract,
            instance=new_instance_id(),
            broker=broker,
            store=store,
            options=OPTIONS,
            loop=loop,
            called=_ModelsOfTest(known),
            clock=clock,
        )
        yield await stack.enter_async_context(worker), contract


@final
class _ModelsOfTest(CalledModels):
    """The models that `run` was given: no other one can be called."""

    def __init__(self, models: Mapping[ModelName, type[AnyModel]]) -> None:
        self._models = models

    @override
    async def limits(self, model: ModelName) -> ModelLimits | None:
        known = self._models.get(model)
        if known is None:
            raise UnknownModel(model)
        return ModelLimits(
            concurrency=known.concurrency, default_timeout=known.default_timeout, max_timeout=known.max_timeout
        )


def _by_name(models: tuple[type[AnyModel], ...]) -> Mapping[ModelName, type[AnyModel]]:
    if not models:
        raise ConfigurationError("hub.testing.run needs the class of a model: run(MyModel)")
    found: dict[ModelName, type[AnyModel]] = {}
    for model in models:
        require_process_request(model)
        name = model_name(model.name)
        if found.setdefault(name, model) is not model:
            raise ConfigurationError(f"two classes are called {name}: set `name` in one of them")
    return found


@final
class _OutsideOfGroups:
    """Raises the only error of a group by itself: a failed assertion, or `pytest.skip`, means that it is the test's.

    The reason why a model cannot start is shown from the author's first frame on.

    Args:
        models: Those that run in the block.
    """

    def __init__(self, models: Sequence[type[AnyModel]]) -> None:
        self._models = models

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        __tracebackhide__ = True
        only = self._only(error)
        if only is None or (only is error and not isinstance(only, ModelNotStarted)):
            return
        context = only.__context__
        try:
            raise only
        finally:
            only.__context__ = context
            del only, error

    def _only(self, error: BaseException | None) -> BaseException | None:
        """What is raised instead of an error."""
        inner = [] if error is None else list(iterate_exceptions(error))
        only = error
        if inner and inner[0] is not error:  # of a group
            if len(inner) > 1 or isinstance(inner[0], get_cancelled_exc_class()):
                return error
            only = inner[0]
        if isinstance(only, ChildError):  # a process could not begin; what a task raises there becomes its outcome
            names = ", ".join(model.name for model in self._models if model.run_in_process)
            only = ModelNotStarted(names, "a process", error_summary(only))
        return _shortened(only) if isinstance(only, ModelNotStarted) else only


def _shortened(error: ModelNotStarted) -> ModelNotStarted:
    """The error without hub's frames, in its own traceback and in that of the author's error."""
    if error.__cause__ is not None:
        error.__cause__.__traceback__ = without_ours(error.__cause__.__traceback__)
    return error.with_traceback(None)


@contextmanager
def _short_log() -> Generator[None]:
    """Shows warnings as hub does, with short tracebacks, if the program has not configured structlog itself."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            LineRenderer("console"),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()
