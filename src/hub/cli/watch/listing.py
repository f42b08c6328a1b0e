"""The commands `hub models` and `hub instances`."""

from __future__ import annotations

from typing import Final

import msgspec
from rich.table import Table
from rich.text import Text

from hub.cli.command import EXIT_OK
from hub.cli.terminal import WIDE, age, console, one_line
from hub.registry.client.client import RegistryClient
from hub.registry.client.schemas import InstanceBody, InstancesBody, ModelBody
from hub.types import InstanceState, ModelName, wall_clock

SHORT: Final = 12
"""Characters of a fingerprint, and of the end of an id: its beginning encodes the time."""

STATES: Final = {
    InstanceState.LIVE: "green",
    InstanceState.LOADING: "cyan",
    InstanceState.NOT_CONSUMING: "yellow",
    InstanceState.SUSPECT: "red",
}
"""The colour of each state."""


async def print_models(registry: RegistryClient, *, json_wanted: bool) -> int:
    """Prints every known model: as the registry's document, or as a table."""
    listed = await registry.listed_models()
    out = console()
    if json_wanted:
        out.out(msgspec.json.format(msgspec.json.encode(listed), indent=2).decode())
    elif listed.models:
        out.print(models_table(listed.models, wide=out.width >= WIDE))
    else:
        out.print(
            "no model has ever logged in at this registry: start one, with `hub model pkg.module:Class`", soft_wrap=True
        )
    return EXIT_OK


async def print_instances(registry: RegistryClient, *, model: ModelName | None, json_wanted: bool) -> int:
    """Prints every instance, or those of one model: as the registry's document, or as a table."""
    listed = [each for each in await registry.instances() if model is None or each.model == model]
    out = console()
    if json_wanted:
        out.out(msgspec.json.format(msgspec.json.encode(InstancesBody(instances=tuple(listed))), indent=2).decode())
    elif listed:
        out.print(instances_table(listed, now=wall_clock()))
    else:
        what = "instance" if model is None else f"instance of {model}"
        out.print(f"the registry lists no {what}; `hub models` shows the known models", soft_wrap=True)
    return EXIT_OK


def models_table(models: tuple[ModelBody, ...], *, wide: bool) -> Table:
    """A line for each model, with its messages if there is room; what the broker did not tell is `-`."""
    table = new_table(
        "model", "state", "live >", "waiting >", "running >", "dead >", "contract", *(["messages"] if wide else [])
    )
    for each in models:
        live = sum(instance.state is InstanceState.LIVE for instance in each.instances)
        queue = each.queue
        table.add_row(
            one_line(each.name),
            Text("up", "green") if each.active else Text("loading", "cyan") if each.instances else Text("down", "red"),
            f"{live} of {len(each.instances)}",
            "-" if queue is None else str(queue.ready),
            "-" if queue is None else str(queue.unacked),
            "-" if queue is None else Text(str(queue.dead), "red" if queue.dead else ""),
            each.fingerprint[:SHORT],
            *([one_line(f"{each.request} -> {'stream of ' if each.streaming else ''}{each.response}")] if wide else []),
        )
    return table


def instances_table(instances: list[InstanceBody], *, now: float) -> Table:
    """A line for each instance; the reasons of their states if there are any."""
    reasons = any(each.reason for each in instances)
    table = new_table(
        "model", "instance", "state", "running >", "up for", "last answer", "address", *(["reason"] if reasons else [])
    )
    for each in instances:
        table.add_row(
            one_line(each.model),
            each.id[-SHORT:],
            Text(each.state, STATES[each.state]),
            "-" if each.in_flight is None else str(each.in_flight),
            age(now - each.logged_in_at),
            "never" if each.answered_at is None else _ago(now - each.answered_at),
            one_line(each.url),
            *([one_line(each.reason)] if reasons else []),
        )
    return table


def new_table(*columns: str) -> Table:
    """A table without a frame. A column whose name ends in ` >` is aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column.endswith(" >")
        table.add_column(column.removesuffix(" >"), justify="right" if right else "left", overflow="fold")
    return table


def _ago(seconds: float) -> str:
    text = age(seconds)
    return text if text == "now" else f"{text} ago"
