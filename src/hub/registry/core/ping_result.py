"""What one ping of one instance can come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hub.ports.directory import InstanceEntry
from hub.stats import InstanceStats
from hub.types import ReadinessSource


@dataclass(frozen=True, slots=True)
class PingTarget:
    """An instance to ping. `serial` tells this login of it from a later one: results of an older one are dropped."""

    entry: InstanceEntry
    serial: int


@dataclass(frozen=True, slots=True)
class PingOk:
    """It lives. With `consuming` false it does not work, for the given reason.

    Attributes:
        signal: Why it does not work, if it does not: whether it consumes nothing, or its model is not well.
        stats: Its statistics; `None` if the reply has none that can be read.
        loading: Whether it does not work because its `setup` is still running.
    """

    consuming: bool = True
    reason: str = ""
    stats: InstanceStats | None = None
    signal: ReadinessSource = ReadinessSource.PING
    loading: bool = False


@dataclass(frozen=True, slots=True)
class PingMissed:
    """It said nothing sensible in time. It may still live.

    Attributes:
        heard: Whether it said something all the same, so that the network cannot be what is wrong.
    """

    reason: str
    heard: bool = False


@dataclass(frozen=True, slots=True)
class PingRejected:
    """It cannot live there: nobody listens at its address, or somebody else does."""

    reason: str


PingResult: TypeAlias = PingOk | PingMissed | PingRejected
