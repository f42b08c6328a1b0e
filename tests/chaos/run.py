"""One run from nothing to nothing: everything starts, is broken under load, comes to rest, ends, and is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from anyio import create_task_group, current_time, fail_after, move_on_after, sleep

from tests.chaos.client import open_chaos_client
from tests.chaos.journal import read_journal
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Plan
from tests.chaos.remains import Remains
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Backend, Stage, opened
from tests.chaos.verdict import Evidence, Verdict, judge
from tests.support.server import START_TIMEOUT

SETTLING: Final = 60.0
"""Seconds for what comes after the load: the second look at each task, and until pings have found out who lives."""


async def run(plan: Plan, backend: Backend, folder: Path, say: Callable[[str], None]) -> Verdict:
    """Runs `plan`, within `plan.limit` and what starting and stopping take. Errors leave in an `ExceptionGroup`.

    Args:
        plan: What to do.
        backend: Of hub's processes; the client runs on whatever this is called on.
        folder: Where everything is written; must not exist.
        say: Told what happens, for people.
    """
    ledger = Ledger()
    async with opened(plan, backend, folder) as stage:
        async with create_task_group() as keepers:
            keepers.start_soon(stage.fleet.tend)
            with fail_after(START_TIMEOUT):
                await stage.fleet.until_ready()
            say(f"{plan.instances} instances, 2 gateways, a registry, RabbitMQ and Redis are up")
            async with open_chaos_client([gateway.url for gateway in stage.gateways], ledger) as client:
                scenario = Scenario(plan=plan, stage=stage, client=client, ledger=ledger, say=say)
                began = current_time()
                with move_on_after(plan.limit) as limit:
                    await scenario.play()
                seconds = current_time() - began
                say(f"{'out of time' if limit.cancelled_caught else 'every task has ended'} after {seconds:.0f} s")
                await stage.heal()
                with move_on_after(SETTLING):
                    await scenario.look_again()
            remains = await _at_rest(stage)
            keepers.cancel_scope.cancel("the run is over")
        await stage.stop()
        evidence = Evidence(
            ledger=ledger,
            runs=read_journal(stage.journal, stage.fleet.deaths),
            faults=scenario.faults,
            remains=remains,
            accidents=stage.accidents,
            killed=stage.fleet.killed,
            poisoned=stage.fleet.poisoned,
            seconds=seconds,
        )
        return judge(evidence)


async def _at_rest(stage: Stage) -> Remains:
    """What is left once nothing moves any more, or after `SETTLING` seconds."""
    remains = await stage.remains()
    with move_on_after(SETTLING):
        while remains.ready or remains.unacked or remains.live != remains.members:
            await sleep(1.0)
            remains = await stage.remains()
    return remains
