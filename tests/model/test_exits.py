"""What a model raises beyond `Exception`, in every form of `process_request`, is the failure of its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, cast

import anyio
import pytest
from typing_extensions import override

import hub
from examples.model_a.v1.model_a_pb2 import ModelARequest, ModelAResponse
from hub.concurrency.exceptions import collapse_exception_group
from hub.model.errors import ModelExit, ModelNotStarted, UnexpectedCancellation
from hub.model.execution.executor import Executor
from hub.model.execution.lifespan import lifespan
from hub.model.execution.model_method import ModelMethod
from hub.model.instance.instance import run_instance
from hub.settings.model import ModelSettings
from hub.stores.memory.store import MemoryStore
from hub.stores.options import StoreOptions
from hub.task import Failure
from tests.model.exit_models import (
    ALL,
    CANCELLATION,
    ERRORS,
    EXITS,
    IN_THIS_PROCESS,
    STOPS,
    Exits,
    ExitsInThread,
)
from tests.model.fake_registry import fake_registry
from tests.model.fakes import TIMEOUT, BreakableStore, Echo, WatchedBroker, ended, reply_of, submit, task, worker

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")


@pytest.fixture
def on_asyncio(anyio_backend: tuple[str, object]) -> bool:
    return anyio_backend[0] == "asyncio"


def of_echo(model: type[hub.Model[Any, Any]]) -> Echo:
    """An object of the class, under the name of the tasks of `tests.model.fakes`."""
    one = model()
    one.name = "Echo"  # type: ignore[misc]  # of this object only
    return cast("Echo", one)  # the worker of `tests.model.fakes` takes any model


async def failure_of(store: BreakableStore, word: str, broker: WatchedBroker) -> Failure:
    one = task(word)
    await submit(broker, store, one)
    outcome = (await ended(store, one)).outcome
    assert outcome is not None
    assert outcome.failure is not None, word
    return outcome.failure


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
async def test_an_error_that_is_not_an_exception_fails_its_task_with_a_code_its_class_and_its_text(
    model: type[hub.Model[Any, Any]], broker: WatchedBroker, store: BreakableStore
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with worker(of_echo(model), broker, store) as working:
            for word, (_, kind) in EXITS.items():
                failure = await failure_of(store, word, broker)
                assert (failure.code, failure.type) == ("model_exit", kind), word
                assert failure.message.startswith(f"process_request raised {kind}"), word
            assert "no weights" in (await failure_of(store, "exit with a text", broker)).message
            await submit(broker, store, one := task("hello"))
            assert await reply_of(store, one) == "hello"
            assert working.consuming


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
async def test_errors_with_a_meaning_for_event_loops_are_ordinary_when_a_model_raises_them(
    model: type[hub.Model[Any, Any]], broker: WatchedBroker, store: BreakableStore
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with worker(of_echo(model), broker, store):
            for word, (_, kind) in ERRORS.items():
                failure = await failure_of(store, word, broker)
                assert (failure.code, failure.type) == ("model_error", kind), word
            for word in STOPS:
                assert (await failure_of(store, word, broker)).code == "model_error", word


@pytest.mark.parametrize("model", IN_THIS_PROCESS, ids=lambda model: model.__name__)
async def test_a_cancellation_that_hub_did_not_request_is_a_failure(
    model: type[hub.Model[Any, Any]], broker: WatchedBroker, store: BreakableStore, on_asyncio: bool
) -> None:
    with anyio.fail_after(TIMEOUT):
        async with worker(of_echo(model), broker, store) as working:
            failure = await failure_of(store, CANCELLATION, broker)
            here = (
                on_asyncio and model is not ExitsInThread
            )  # elsewhere it is an error like any other that is no Exception
            assert failure.code == ("unexpected_cancellation" if here else "model_exit")
            assert working.consuming


async def test_a_task_of_the_models_own_that_exits_fails_the_task_on_trio(
    broker: WatchedBroker, store: BreakableStore, on_asyncio: bool
) -> None:
    if on_asyncio:  # ends the loop of the test itself; `tests.system` has a process with our loop
        return
    with anyio.fail_after(TIMEOUT):
        async with worker(of_echo(Exits), broker, store):
            failure = await failure_of(store, "subtask", broker)
    assert (failure.code, failure.type) == ("model_exit", "SystemExit")


async def test_a_cancellation_by_hub_is_passed_on_even_if_the_model_wraps_it() -> None:
    """Grouped with an error of the model, or replaced by an exit, it still ends the scope that was cancelled."""
    began = anyio.Event()

    async def grouped() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancellation:
            raise BaseExceptionGroup("both", [cancellation, ValueError("mine")]) from None  # noqa: ASYNC104

    with anyio.fail_after(TIMEOUT), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(ModelMethod(doing(grouped), "process_request").call)
            await began.wait()
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_cancellation_raised_by_the_model_in_a_cancelled_scope_is_passed_on() -> None:
    cancelled = anyio.get_cancelled_exc_class()  # noqa: ASYNC118 - to make one by hand

    async def own() -> None:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except cancelled:
            raise BaseExceptionGroup(
                "of mine", [cancelled("mine")] if on_asyncio_now() else [KeyboardInterrupt()]
            ) from None

    with anyio.fail_after(TIMEOUT), anyio.CancelScope() as scope:
        if on_asyncio_now():
            await ModelMethod(doing(own), "process_request").call()
            pytest.fail("it was to be cancelled")
        else:
            with pytest.raises(ModelExit):
                await ModelMethod(doing(own), "process_request").call()


def doing(method: Callable[[], Any]) -> hub.Model[Any, Any]:
    model = Echo()
    model.process_request = method  # type: ignore[assignment, method-assign]
    return model


def on_asyncio_now() -> bool:
    return anyio.get_cancelled_exc_class().__module__.startswith("asyncio")


def exits() -> NoReturn:
    raise SystemExit(3)


async def exits_async() -> NoReturn:
    raise SystemExit(3)


@pytest.mark.parametrize("method", [exits, exits_async])
@pytest.mark.parametrize("name", ["setup", "teardown"])
async def test_setup_and_teardown_that_exit_fail_with_the_same_error(name: str, method: Callable[[], Any]) -> None:
    model = Echo()
    setattr(model, name, method)
    kind = ModelNotStarted if name == "setup" else ModelExit
    with anyio.fail_after(TIMEOUT), pytest.raises(kind, match="raised SystemExit: 3"):
        async with lifespan(model):
            pass


@pytest.mark.parametrize("name", ["__init__", "setup", "get_request_format", "get_response_format", "example"])
async def test_an_instance_whose_model_exits_before_it_is_up_fails_with_the_same_error(
    name: str, broker: WatchedBroker
) -> None:
    def exit_(*_: object) -> NoReturn:
        raise SystemExit(3)

    ending = type("Ending", (Echo,), {name: classmethod(exit_) if name == "example" else exit_})
    with anyio.fail_after(TIMEOUT):
        async with fake_registry() as registry:
            settings = ModelSettings(broker_url="memory://", store_url="memory://", registry_url=registry.url)
            with (
                pytest.raises(ModelNotStarted, match=f"{name}.* raised SystemExit: 3") as caught,
                collapse_exception_group(),
            ):
                await run_instance(ending, settings, broker=broker, store=MemoryStore(StoreOptions()))
    assert caught.value.exit_code == 2


async def test_an_error_with_a_method_whose_isinstance_exits_is_not_tried_again(
    broker: WatchedBroker, store: BreakableStore
) -> None:
    class Meta(type):
        @override
        def __instancecheck__(cls, _: object) -> bool:
            raise SystemExit(3)

    class Picky(Exception, metaclass=Meta):
        pass

    class Retrying(Echo):
        name = "Echo"
        retry: ClassVar[hub.Retry | None] = hub.Retry(on=(Picky,))

    async def fails(_: str) -> str:
        raise ValueError("plainly")

    with anyio.fail_after(TIMEOUT):
        async with worker(Retrying(fails), broker, store):
            failure = await failure_of(store, "", broker)
    assert (failure.code, failure.message) == ("model_error", "plainly")


async def test_an_unexpected_cancellation_names_the_method() -> None:
    class Strays(Echo):
        @override
        async def process_request(self, request: ModelARequest) -> ModelAResponse:
            raise anyio.get_cancelled_exc_class()("mine")

    if not on_asyncio_now():
        return
    with anyio.fail_after(TIMEOUT), pytest.raises(UnexpectedCancellation, match=r"^process_request ended"):
        await Executor(Strays()).execute(ModelARequest().SerializeToString())
