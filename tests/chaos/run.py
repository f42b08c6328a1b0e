"""One run: start the system, inject faults under load, let it settle, stop it, check the evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from anyio import create_task_group, current_time, fail_after, move_on_after, sleep

from tests.chaos.checker import CheckResult, Evidence, check
from tests.chaos.client import open_chaos_client
from tests.chaos.history import FinalState, History
from tests.chaos.journal import read_journal
from tests.chaos.plan import Plan
from tests.chaos.scenario import Scenario
from tests.chaos.system import Backend, System, open_system
from tests.support.server import START_TIMEOUT

SETTLING: Final = 60.0
"""Seconds for what follows the load: the second read of each task, and the pings that show which instances are live."""


async def run(plan: Plan, backend: Backend, folder: Path, say: Callable[[str], None]) -> CheckResult:
    """Runs `plan`, within `plan.limit` and the time for start and stop. Errors arrive in an `ExceptionGroup`.

    Args:
        plan: Size of the run.
        backend: Of hub's processes; the client runs on the backend of the caller.
        folder: For logs, journals and data; must not exist.
        say: Called with a line of text per step.
    """
    history = History()
    async with open_system(plan, backend, folder) as system:
        async with create_task_group() as keepers:
            for fleet in system.fleets:
                keepers.start_soon(fleet.replace_ended)
            with fail_after(START_TIMEOUT):
                for fleet in system.fleets:
                    await fleet.until_ready()
            say(f"{plan.instances} instances, 2 gateways, a registry, RabbitMQ and Redis are up")
            async with open_chaos_client([gateway.url for gateway in system.gateways], history) as client:
                scenario = Scenario(plan=plan, system=system, client=client, history=history, say=say)
                began = current_time()
                with move_on_after(plan.limit) as limit:
                    await scenario.play()
                seconds = current_time() - began
                say(f"{'out of time' if limit.cancelled_caught else 'every task has ended'} after {seconds:.0f} s")
                await system.repair()
                with move_on_after(SETTLING):
                    await scenario.read_again()
            final_state = await _settled_state(system)
            keepers.cancel_scope.cancel("the run is over")
        await system.stop()
        evidence = Evidence(
            history=history,
            runs=read_journal(system.journal, system.deaths),
            faults=scenario.faults,
            final_state=final_state,
            unexpected_exits=system.unexpected_exits,
            killed=sum(fleet.killed for fleet in system.fleets),
            poisoned=system.fleet.poisoned,
            seconds=seconds,
        )
        return check(evidence)


async def _settled_state(system: System) -> FinalState:
    """The state once no message is left and all instances are live, or after `SETTLING` seconds."""
    final_state = await system.final_state()
    with move_on_after(SETTLING):
        while final_state.ready or final_state.unacked or final_state.live != final_state.running:
            await sleep(1.0)
            final_state = await system.final_state()
    return final_state
