"""Contracts and their differences on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from hub.cli.terminal import WIDE, age, moment, printable, rows_of
from hub.registry.client.contract_schemas import (
    ContractBody,
    DifferenceBody,
    SchemaDiffBody,
    SchemaHistoryBody,
    SchemaSummary,
)

SHORT: Final = 12
"""Digits of a fingerprint in lists. Of the id of an instance the last ones are shown: the first encode the time."""


def list_lines(schemas: Sequence[SchemaSummary], *, width: int) -> Iterator[Text]:
    """A headline, and a line for each model."""
    wide = width >= WIDE
    head = ("model", "contract", "of", "first seen (UTC)", "from", *(["request", "response"] if wide else []))
    rows = [
        (
            each.model if each.active else f"{each.model} (down)",
            each.fingerprint[:SHORT],
            str(each.contracts),
            moment(each.first_seen_at),
            each.first_seen_from if wide else each.first_seen_from[-SHORT:],
            *([each.request, each.response] if wide else []),
        )
        for each in schemas
    ]
    return rows_of(head, rows)


def schema_table(model: str, known: ContractBody, *, now: float) -> Table:
    """A table of the attributes of a contract."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("model", model),
        ("contract", known.fingerprint),
        ("request", known.request),
        ("response", f"a stream of {known.response}" if known.streaming else known.response),
        ("first seen", f"{moment(known.first_seen_at)} UTC ({age(now - known.first_seen_at)} ago)"),
        ("from", known.first_seen_from),
        ("instances", str(known.instances)),
    ):
        table.add_row(name, Text(printable(value)))
    return table


def history_lines(history: SchemaHistoryBody, shown: ContractBody) -> Iterator[Text]:
    """A headline, and a line for each contract of the model, oldest first; the shown one is marked."""
    rows = [
        (
            f"{'*' if each is shown else ' '} {each.fingerprint[:SHORT]}",
            moment(each.first_seen_at),
            each.first_seen_from,
            str(each.instances),
            "present" if each.present else "",
        )
        for each in history.contracts
    ]
    return rows_of(("  contract", "first seen (UTC)", "from", "instances", ""), rows)


def difference_lines(differences: Sequence[DifferenceBody]) -> Iterator[Text]:
    """Two lines for each difference: its path and rule, then its message."""
    for each in differences:
        mark, style = ("breaks", "bold red") if each.breaks else ("differs", "bold")
        yield Text(f"{mark}  {printable(each.path)}" + (f"  {each.rule}" if each.rule else ""), style=style)
        yield Text(f"  {printable(each.message)}", style="dim")


def summary(body: SchemaDiffBody) -> str:
    """One sentence with the number of differences."""
    sides = f"{body.to[:SHORT]} and {body.from_[:SHORT]} of {body.model}"
    if not body.differences:
        return f"{sides} are the same"
    breaking = sum(each.breaks for each in body.differences)
    count = len(body.differences)
    return f"{sides}: {count} difference{'s' if count > 1 else ''}, {breaking or 'none'} of them breaking"
