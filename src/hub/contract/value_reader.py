"""The common form of all readers of values that may contain messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from hub.contract.jsontext import JsonValue


@dataclass(slots=True)
class Tally:
    """What is counted while a document is read.

    Attributes:
        names: Members of all objects.
        colons: Colons of strings that are known to have some, such as timestamps. May be too few.
    """

    names: int = 0
    colons: int = 0


ValueReader: TypeAlias = Callable[[JsonValue, int, Tally], Any]
"""Reads a JSON value that stands for a message, or for the value of a field that contains messages.

Takes the value, the level of the message (the outermost is 1) or of the message that has the field, and the tally.
Returns what the constructor of the surrounding message takes: the arguments of the message's constructor as a `dict`,
or the message itself; for a field also a list or a map of these. Raises `Refusal` with everything that is bad.
"""
