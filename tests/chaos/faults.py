"""What is done to the system, one after the other."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from anyio import sleep
from anyio.to_thread import run_sync

from tests.chaos.plan import Plan
from tests.chaos.stage import Stage

Act = Callable[[Stage, Plan], Awaitable[None]]

BROKER: Final = "broker"
STORE: Final = "redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that was broken, and whole again after a while. Unix seconds."""

    name: str
    began: float
    returned: float

    @property
    def of_broker(self) -> bool:
        return self.name.startswith(BROKER)

    @property
    def of_store(self) -> bool:
        return self.name.startswith(STORE)


async def _registry_killed(stage: Stage, plan: Plan) -> None:
    stage.registry.kill()
    await sleep(plan.down)
    await stage.registry.start()


async def _first_gateway_killed(stage: Stage, plan: Plan) -> None:
    await _gateway_killed(stage, plan, 0)


async def _second_gateway_killed(stage: Stage, plan: Plan) -> None:
    await _gateway_killed(stage, plan, 1)


async def _gateway_killed(stage: Stage, plan: Plan, number: int) -> None:
    stage.gateways[number].kill()
    await sleep(plan.down)
    await stage.gateways[number].start()


async def _broker_killed(stage: Stage, _plan: Plan) -> None:
    await run_sync(stage.rabbitmq.restart)


async def _broker_frozen(stage: Stage, plan: Plan) -> None:
    stage.rabbitmq.freeze()
    try:
        await sleep(plan.silence)
    finally:
        stage.rabbitmq.thaw()


async def _broker_holed(stage: Stage, plan: Plan) -> None:
    stage.proxy.blackhole()
    try:
        await sleep(plan.silence)
    finally:
        stage.proxy.restore()


async def _redis_killed(stage: Stage, plan: Plan) -> None:
    stage.redis.kill()
    await sleep(plan.down)
    await run_sync(stage.redis.start)


async def _redis_frozen(stage: Stage, plan: Plan) -> None:
    stage.redis.freeze()
    try:
        await sleep(plan.store_silence / 2)
        stage.fleet.kill()  # what they have finished meanwhile is stored nowhere
        await sleep(plan.store_silence / 2)
    finally:
        stage.redis.thaw()


def schedule(plan: Plan) -> list[tuple[str, Act]]:
    """The faults in their order, each with its name."""
    acts: list[tuple[str, Act]] = [
        ("registry killed", _registry_killed),
        ("gateway killed", _first_gateway_killed),
        (f"{BROKER} killed", _broker_killed),
        (f"{STORE} killed", _redis_killed),
        (f"{BROKER} frozen", _broker_frozen),
        (f"{STORE} frozen", _redis_frozen),
        (f"{BROKER} black-holed", _broker_holed),
    ]
    if plan.again:
        acts += [("other gateway killed", _second_gateway_killed), (f"{BROKER} killed again", _broker_killed)]
    return acts


async def inflict(name: str, act: Act, stage: Stage, plan: Plan) -> Fault:
    """Returns once the fault is over; what it has done to hub may not be."""
    began = time.time()
    await act(stage, plan)
    return Fault(name=name, began=began, returned=time.time())
