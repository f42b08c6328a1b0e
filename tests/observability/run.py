"""Sets off every alert for real, and sees it end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anyio import create_task_group, fail_after, move_on_after, sleep

from tests.chaos.system import Backend
from tests.observability.config import rules, shortened
from tests.observability.system import POLL_INTERVAL, MonitoredSystem, opened
from tests.observability.trials import GROUPS, MODELS, UNTRIED, Expected, Trial

HURRY: Final = 60
"""Durations of the rules are divided by this: minutes become seconds."""

LIMIT: Final = 60.0
"""Seconds for an alert to fire, and again to end; on a free machine it takes some ten."""

START: Final = 90.0
"""Seconds until everything is up and quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one alert.

    Attributes:
        trial: What was done to set it off.
        fired: Seconds until it fired; `None` if it never did.
        resolved: Seconds from the repair until it had ended; `None` if it never did.
        said: Its summary.
    """

    alert: Expected
    trial: str
    fired: float | None = None
    resolved: float | None = None
    said: str = ""

    @property
    def kept(self) -> bool:
        """Whether it fired, ended, and had something readable to say."""
        return self.fired is not None and self.resolved is not None and bool(self.said) and "<" not in self.said


async def run(
    backend: Backend, folder: Path, say: Callable[[str], None], *, amqp_url: str, redis_url: str
) -> list[Verdict]:
    """Makes all trials in `folder` and returns a verdict for each alert, in their order.

    Raises:
        TimeoutError: Not everything came up, or something fired before anything was broken.
        AssertionError: An alert of the rules file has no trial, or a rule could not be evaluated.
    """
    tried = {expected.name for group in GROUPS for _, alerts in group for expected in alerts}
    missing = {rule["alert"] for rule in rules()} - tried - UNTRIED
    assert not missing, f"no trial sets off {missing}"
    verdicts: list[Verdict] = []
    async with opened(folder, backend, amqp_url=amqp_url, redis_url=redis_url, rules_text=shortened(HURRY)) as system:
        with fail_after(START):
            async with create_task_group() as tg:
                for model in MODELS:
                    tg.start_soon(system.instance, model)
            await system.until_offered(*MODELS)
            await system.targets_up(len(MODELS))
            while await system.prometheus.alerts():
                await sleep(POLL_INTERVAL)
        say("everything is up, and no alert fires")
        for group in GROUPS:
            async with create_task_group() as tg:
                for trial, alerts in group:
                    tg.start_soon(_judge, system, trial, alerts, verdicts, say)
        health = await system.prometheus.rule_health()
        assert set(health.values()) == {"ok"}, health
    order = [expected for group in GROUPS for _, alerts in group for expected in alerts]
    return sorted(verdicts, key=lambda verdict: order.index(verdict.alert))


async def _judge(
    system: MonitoredSystem,
    trial: Trial,
    alerts: Sequence[Expected],
    verdicts: list[Verdict],
    say: Callable[[str], None],
) -> None:
    name = trial.__name__.replace("_", " ")
    fired: dict[Expected, tuple[float, str]] = {}
    resolved: dict[Expected, float] = {}
    began = time.monotonic()
    async with trial(system):
        with move_on_after(LIMIT):
            while len(fired) < len(alerts):
                for alert in await system.prometheus.alerts():
                    for expected in alerts:
                        if alert["state"] == "firing" and expected.matches(alert["labels"]) and expected not in fired:
                            fired[expected] = time.monotonic() - began, alert["annotations"]["summary"]
                            say(f"{expected} fires: {fired[expected][1]}")
                await sleep(POLL_INTERVAL)
        mended = time.monotonic()
    with move_on_after(LIMIT):
        while len(resolved) < len(fired):
            active = [alert["labels"] for alert in await system.prometheus.alerts() if alert["state"] == "firing"]
            for expected in fired:
                if expected not in resolved and not any(expected.matches(labels) for labels in active):
                    resolved[expected] = time.monotonic() - mended
            await sleep(POLL_INTERVAL)
    for expected in alerts:
        after, said = fired.get(expected, (None, ""))
        verdicts.append(Verdict(alert=expected, trial=name, fired=after, resolved=resolved.get(expected), said=said))


def table(verdicts: Sequence[Verdict]) -> str:
    """A line for each alert."""
    rows = [("", "alert", "fired after", "resolved after", "because")]
    rows += [
        ("ok" if each.kept else "BAD", str(each.alert), _seconds(each.fired), _seconds(each.resolved), each.trial)
        for each in verdicts
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
