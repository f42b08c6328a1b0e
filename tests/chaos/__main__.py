"""Injects faults while tasks are in flight and checks the promises of hub: `make chaos`, or with fewer tasks

    python -m tests.chaos --short
    python -m tests.chaos --backend trio --tasks 5000 --keep /tmp/chaos

Exits with 1 when a promise of hub was broken, with 2 when the run could not be made. See docs/reliability.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver

from tests.chaos.checker import CheckResult
from tests.chaos.plan import SHORT, Plan
from tests.chaos.report import document, lines
from tests.chaos.run import run
from tests.chaos.system import Backend

BACKENDS: Final[tuple[Backend, ...]] = ("asyncio", "trio")

SETTINGS: Final = ("tasks", "rate", "instances", "kill_period", "silence", "store_silence", "recovery", "limit", "seed")


async def interruptible(plan: Plan, backend: Backend, folder: Path) -> CheckResult | None:
    """The result, or `None` after a signal; then everything that was started has ended too."""
    result: CheckResult | None = None
    began = time.monotonic()

    def say(text: str) -> None:
        _print(f"{backend:8}{time.monotonic() - began:6.1f} s  {text}")

    async def stop_at_signal(scope: CancelScope) -> None:
        with open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                say("stopping")
                scope.cancel("a signal")
                break

    async with create_task_group() as tg:
        tg.start_soon(stop_at_signal, tg.cancel_scope)
        result = await run(plan, backend, folder, say)
        tg.cancel_scope.cancel("done")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["both", *BACKENDS], default="both")
    parser.add_argument("--short", action="store_true", help="each fault once and short, some 700 tasks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs and journals there")
    for setting in SETTINGS:
        option = f"--{setting.replace('_', '-')}"
        parser.add_argument(option, type=type(getattr(Plan(), setting)), help=f"default {getattr(Plan(), setting)}")
    arguments = parser.parse_args()
    changed = {name: value for name in SETTINGS if (value := getattr(arguments, name)) is not None}
    plan = dataclasses.replace(SHORT if arguments.short else Plan(), **changed)
    results: dict[str, CheckResult] = {}
    with ExitStack() as stack:
        folder = arguments.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-chaos-", ignore_cleanup_errors=True))
        )
        for backend in BACKENDS:
            if arguments.backend not in {backend, "both"}:
                continue
            work = partial(interruptible, plan, backend, folder.resolve() / backend)
            result = anyio.run(work, backend=backend)
            if result is None:
                return 2
            results[backend] = result
    for name, result in results.items():
        _print("\n".join(lines(name, result)))
    if arguments.json is not None:
        report = {name: document(result) for name, result in results.items()}
        arguments.json.write_text(json.dumps(report, indent=1))
    return 0 if all(result.passed for result in results.values()) else 1


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
