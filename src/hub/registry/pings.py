"""What one ping of one instance can come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hub.load import Load
from hub.ports import InstanceEntry


@dataclass(frozen=True, slots=True)
class PingTarget:
    """An instance to ping. `serial` tells this login of it from a later one: results of an older one are dropped."""

    entry: InstanceEntry
    serial: int


@dataclass(frozen=True, slots=True)
class Answered:
    """It lives. With `consuming` false it takes nothing from its queue, for the given reason.

    Attributes:
        load: What it says of its work; `None` if it says nothing that can be read.
    """

    consuming: bool = True
    reason: str = ""
    load: Load | None = None


@dataclass(frozen=True, slots=True)
class Missed:
    """It said nothing sensible in time. It may still live."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot live there: nobody listens at its address, or somebody else does."""

    reason: str


PingResult: TypeAlias = Answered | Missed | Refused
