"""Targets and results of pings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hub.ports.directory import InstanceEntry
from hub.stats import InstanceStats
from hub.types import ReadinessSource


@dataclass(frozen=True, slots=True)
class PingTarget:
    """An instance to ping. `serial` distinguishes this login of it from later ones: results of an older one are dropped."""

    entry: InstanceEntry
    serial: int


@dataclass(frozen=True, slots=True)
class PingOk:
    """The instance is alive. With `consuming` false it takes no tasks, for the given reason.

    Attributes:
        stats: Its statistics; `None` if the reply has none that can be read.
        source: Why it takes no tasks: it consumes nothing, or its model is not healthy.
        loading: Whether it takes no tasks because its `setup` is still running.
    """

    consuming: bool = True
    reason: str = ""
    stats: InstanceStats | None = None
    source: ReadinessSource = ReadinessSource.PING
    loading: bool = False


@dataclass(frozen=True, slots=True)
class PingMissed:
    """No usable reply in time. The instance may still be alive.

    Attributes:
        replied: Whether there was a reply all the same, so that the network works.
    """

    reason: str
    replied: bool = False


@dataclass(frozen=True, slots=True)
class PingRejected:
    """The instance cannot be alive at its address: no process listens there, or another one does."""

    reason: str


PingResult: TypeAlias = PingOk | PingMissed | PingRejected
