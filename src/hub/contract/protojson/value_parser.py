"""The common form of all readers of values that may contain messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hub.contract.protojson.json_text import JsonValue


@dataclass(slots=True)
class ParseStats:
    """What is counted while a document is read.

    Attributes:
        names: Members of all objects.
        colons: Colons of strings that are known to have some, such as timestamps. May be too few.
        unfinished: Fills the messages that readers returned empty, in this order. They take many times as much memory as
            the text, so nothing is filled before the whole document is known to be good.
    """

    names: int = 0
    colons: int = 0
    unfinished: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def finish(self) -> None:
        """Fills what readers returned empty; before the arguments in which it stands are used."""
        for fill in self.unfinished:
            fill()
        self.unfinished.clear()


ValueReader: TypeAlias = Callable[[JsonValue, int, ParseStats], Any]
"""Reads a JSON value that stands for a message, or for the value of a field that contains messages.

Takes the value, the level of the message (the outermost is 1) or of the message that has the field, and the tally.
Returns what the constructor of the surrounding message takes: the arguments of the message's constructor as a `dict`,
or the message itself, which may be empty until `ParseStats.finish`; for a field also a list or a map of these. Raises `Refusal`
with everything that is bad.
"""
