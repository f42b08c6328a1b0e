"""The faults that a run injects, one after the other."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from anyio import sleep
from anyio.to_thread import run_sync

from tests.chaos.plan import Plan
from tests.chaos.system import System

FaultAction = Callable[[System, Plan], Awaitable[None]]

BROKER: Final = "broker"
STORE: Final = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that was injected and has been repaired. Unix seconds."""

    name: str
    began: float
    returned: float

    @property
    def of_broker(self) -> bool:
        return self.name.startswith(BROKER)

    @property
    def of_store(self) -> bool:
        return self.name.startswith(STORE)


async def _registry_killed(system: System, plan: Plan) -> None:
    system.registry.kill()
    await sleep(plan.down)
    await system.registry.start()


async def _first_gateway_killed(system: System, plan: Plan) -> None:
    await _gateway_killed(system, plan, 0)


async def _second_gateway_killed(system: System, plan: Plan) -> None:
    await _gateway_killed(system, plan, 1)


async def _gateway_killed(system: System, plan: Plan, number: int) -> None:
    system.gateways[number].kill()
    await sleep(plan.down)
    await system.gateways[number].start()


async def _broker_killed(system: System, _plan: Plan) -> None:
    await run_sync(system.rabbitmq.restart)


async def _broker_frozen(system: System, plan: Plan) -> None:
    system.rabbitmq.freeze()
    try:
        await sleep(plan.silence)
    finally:
        system.rabbitmq.thaw()


async def _broker_black_holed(system: System, plan: Plan) -> None:
    system.proxy.blackhole()
    try:
        await sleep(plan.silence)
    finally:
        system.proxy.restore()


async def _redis_killed(system: System, plan: Plan) -> None:
    system.redis.kill()
    await sleep(plan.down)
    await run_sync(system.redis.start)


async def _redis_frozen(system: System, plan: Plan) -> None:
    system.redis.freeze()
    try:
        await sleep(plan.store_silence / 2)
        system.fleet.kill()  # outcomes of tasks that ended meanwhile are not stored
        await sleep(plan.store_silence / 2)
    finally:
        system.redis.thaw()


def schedule(plan: Plan) -> list[tuple[str, FaultAction]]:
    """The faults in their order, each with its name."""
    faults: list[tuple[str, FaultAction]] = [
        ("registry killed", _registry_killed),
        ("gateway killed", _first_gateway_killed),
        (f"{BROKER} killed", _broker_killed),
        (f"{STORE} killed", _redis_killed),
        (f"{BROKER} frozen", _broker_frozen),
        (f"{STORE} frozen", _redis_frozen),
        (f"{BROKER} black-holed", _broker_black_holed),
    ]
    if plan.again:
        faults += [("other gateway killed", _second_gateway_killed), (f"{BROKER} killed again", _broker_killed)]
    return faults


async def inject(name: str, action: FaultAction, system: System, plan: Plan) -> Fault:
    """Returns once the fault is repaired; its effects on hub may go on."""
    began = time.time()
    await action(system, plan)
    return Fault(name=name, began=began, returned=time.time())
