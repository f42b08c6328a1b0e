"""What each alert is for, done to a running hub: a block in which something is broken, and after which it is mended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import create_task_group, run_process, sleep
from typing_extensions import override

from hub.brokers import open_broker
from hub.ports.broker import Publication
from hub.types import ModelName
from tests.observability.system import POLL_INTERVAL, MonitoredSystem

MODELS: Final = ("Watched", "Vanishing", "Crowded", "Unwell", "Faulty", "Holding")
"""Of which one instance each runs when the trials begin."""

Trial = Callable[[MonitoredSystem], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One alert with a label that identifies it."""

    name: str
    label: tuple[str, str] | None = None

    def matches(self, alert: Mapping[str, str]) -> bool:
        return alert["alertname"] == self.name and (self.label is None or self.label in alert.items())

    @override
    def __str__(self) -> str:
        return self.name if self.label is None else f"{self.name} ({self.label[1]})"


@asynccontextmanager
async def an_instance_is_killed(system: MonitoredSystem) -> AsyncGenerator[None]:
    (only,) = [program for program in system.instances if program.name.startswith("Vanishing")]
    only.kill()
    yield
    await system.instance("Vanishing")


@asynccontextmanager
async def a_model_gets_more_than_it_can_do(system: MonitoredSystem) -> AsyncGenerator[None]:
    async def feed() -> None:
        while True:
            await system.pile_up("Crowded", 50)
            await sleep(POLL_INTERVAL)

    system.mood("Crowded", "held", on=True)
    async with create_task_group() as tg:
        tg.start_soon(feed)
        yield
        tg.cancel_scope.cancel("enough")
    system.mood("Crowded", "held", on=False)


@asynccontextmanager
async def a_model_says_that_it_is_not_well(system: MonitoredSystem) -> AsyncGenerator[None]:
    system.mood("Unwell", "unwell", on=True)
    yield
    system.mood("Unwell", "unwell", on=False)


@asynccontextmanager
async def a_setup_does_not_return(system: MonitoredSystem) -> AsyncGenerator[None]:
    system.mood("Stuck", "stuck", on=True)
    program = system.begin("Stuck")
    yield
    system.mood("Stuck", "stuck", on=False)
    await program.until_ready()


@asynccontextmanager
async def a_model_holds_its_loop(system: MonitoredSystem) -> AsyncGenerator[None]:
    async def ask() -> None:
        while True:
            await system.call("Holding", "hello")

    system.mood("Holding", "holding", on=True)
    async with create_task_group() as tg:
        tg.start_soon(ask)
        yield
        tg.cancel_scope.cancel("enough")
    system.mood("Holding", "holding", on=False)


@asynccontextmanager
async def every_other_task_fails(system: MonitoredSystem) -> AsyncGenerator[None]:
    async def ask() -> None:
        while True:
            for text in ("hello", "fail"):
                await system.call("Faulty", text)
            await sleep(POLL_INTERVAL)

    async with create_task_group() as tg:
        tg.start_soon(ask)
        yield
        tg.cancel_scope.cancel("enough")


@asynccontextmanager
async def a_message_is_no_task(system: MonitoredSystem) -> AsyncGenerator[None]:
    await leave_rubbish(system, "Watched")
    yield
    drop = [str(Path(sys.executable).with_name("hub")), "dead", "drop", "Watched", "--all", "--yes"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    for setting in ("broker_url", "store_url", "registry_url", "token"):
        environment[f"HUB_{setting.upper()}"] = system.common[setting]
    await run_process(drop, env=environment)


@asynccontextmanager
async def the_gateway_is_killed(system: MonitoredSystem) -> AsyncGenerator[None]:
    system.gateway.kill()
    yield
    await system.gateway.start()


@asynccontextmanager
async def the_registry_is_killed(system: MonitoredSystem) -> AsyncGenerator[None]:
    system.registry.kill()
    yield
    await system.registry.start()


@asynccontextmanager
async def the_registry_loses_its_servers(system: MonitoredSystem) -> AsyncGenerator[None]:
    for proxy in (system.to_broker, system.to_directory):
        proxy.refuse()
        proxy.cut()
    yield
    for proxy in (system.to_broker, system.to_directory):
        proxy.accept()


@asynccontextmanager
async def the_gateway_loses_its_store(system: MonitoredSystem) -> AsyncGenerator[None]:
    system.to_store.refuse()
    system.to_store.cut()
    yield
    system.to_store.accept()


@asynccontextmanager
async def an_instance_hangs(system: MonitoredSystem) -> AsyncGenerator[None]:
    with _frozen(system, "Watched"):
        yield


@asynccontextmanager
async def all_instances_hang(system: MonitoredSystem) -> AsyncGenerator[None]:
    with _frozen(system, ""):
        yield


async def leave_rubbish(system: MonitoredSystem, model: str) -> None:
    """Puts a message on the queue of a model that is no task."""
    async with open_broker(system.common["broker_url"]) as broker:
        rubbish = Publication(queue=ModelName(model), body=b"\xff\xff", message_id="rubbish", timestamp=time.time())
        assert await broker.publish([rubbish]) == [None]


@contextmanager
def _frozen(system: MonitoredSystem, model: str) -> Generator[None]:
    """SIGSTOP to every instance of a model, or of all of them for an empty name."""
    pids = [program.pid for program in system.instances if program.name.startswith(model) and program.exit_code is None]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


UNTRIED: Final = {"HubBrokerBlocked"}
"""Not set off here, where the broker is shared with others: `tests/system/test_broker_alarm.py` has a real alarm."""

GROUPS: Final[Sequence[Sequence[tuple[Trial, Sequence[Expected]]]]] = (
    (
        (an_instance_is_killed, [Expected(name="HubModelHasNoLiveInstance", label=("model", "Vanishing"))]),
        (
            a_model_gets_more_than_it_can_do,
            [
                Expected(name="HubBacklogGrows", label=("model", "Crowded")),
                Expected(name="HubQueueWaitTooLong", label=("model", "Crowded")),
            ],
        ),
        (a_model_says_that_it_is_not_well, [Expected(name="HubInstanceNotConsuming", label=("model", "Unwell"))]),
        (a_setup_does_not_return, [Expected(name="HubModelStuckLoading", label=("model", "Stuck"))]),
        (a_model_holds_its_loop, [Expected(name="HubLoopStalls", label=("job", "hub-instances"))]),
        (every_other_task_fails, [Expected(name="HubTasksFail", label=("model", "Faulty"))]),
        (a_message_is_no_task, [Expected(name="HubDeadLetters", label=("model", "Watched"))]),
    ),
    (
        (the_gateway_is_killed, [Expected(name="HubGatewayDown")]),
        (
            the_registry_loses_its_servers,
            [
                Expected(name="HubRegistryDisconnected", label=("server", "broker")),
                Expected(name="HubRegistryDisconnected", label=("server", "directory")),
            ],
        ),
        (an_instance_hangs, [Expected(name="HubInstanceDown", label=("model", "Watched"))]),
    ),
    (
        (the_gateway_loses_its_store, [Expected(name="HubProcessDisconnected", label=("server", "store"))]),
        (all_instances_hang, [Expected(name="HubRegistrySelfPreservation")]),
    ),
    ((the_registry_is_killed, [Expected(name="HubRegistryDown")]),),
)
"""Groups of concurrent trials, one after the other; each trial with the alerts that it must fire."""
