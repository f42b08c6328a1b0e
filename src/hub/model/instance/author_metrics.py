"""The metrics that a model's author keeps with `prometheus_client`, for `/metrics` of an instance."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

import structlog
from anyio import CapacityLimiter, move_on_after
from anyio.to_thread import run_sync
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

from hub.observability.prometheus import END, exposition

TIMEOUT: Final = 2.0
"""Seconds for the author's collectors; below the timeout of a scrape, which is 10 s by default."""

_OURS: Final = "hub_"

_log: FilteringBoundLogger = structlog.get_logger(__name__)


@final
class AuthorMetrics:
    """The default registry of `prometheus_client` of this process: metrics of all its models, and of Python.

    Collectors are code of the author. They run in a thread, one scrape at a time. A collector that raises or takes longer
    than `TIMEOUT`, a family that cannot be written, and names that begin with `hub_` are left out and logged once.

    Args:
        registry: The registry to read.
    """

    def __init__(self, registry: Collector = REGISTRY) -> None:
        self._registry = registry
        self._threads = CapacityLimiter(1)
        self._collecting = False
        self._logged: set[str] = set()

    async def exposition(self, accept: str) -> bytes:
        """The metrics in the format that `accept` asks for, without the end mark of OpenMetrics."""
        if self._collecting:
            return b""  # the thread of an earlier scrape is still running
        with move_on_after(TIMEOUT):
            return await run_sync(self._text, accept, abandon_on_cancel=True, limiter=self._threads)
        self._log_once("slow", f"collecting took longer than {TIMEOUT:g} s")
        return b""

    def _text(self, accept: str) -> bytes:
        text = b""
        self._collecting = True
        try:
            for family in self._registry.collect():
                text += self._text_of(family, accept)
        except Exception as error:  # noqa: BLE001 - of a collector of the author's; those before it have been read
            self._log_once("collect", "a collector failed; metrics registered after it are left out", error)
        finally:
            self._collecting = False
        return text

    def _text_of(self, family: Metric, accept: str) -> bytes:
        if family.name.startswith(_OURS):
            self._log_once(family.name, f"{family.name} is left out: names that begin with hub_ are hub's own")
            return b""
        try:
            return exposition(_One(family), accept)[0].removesuffix(END)
        except Exception as error:  # noqa: BLE001 - a family of the author's that no format can hold
            self._log_once(family.name, f"{family.name} cannot be written and is left out", error)
            return b""

    def _log_once(self, what: str, text: str, error: Exception | None = None) -> None:
        if what not in self._logged:
            self._logged.add(what)
            _log.warning(f"metrics of a model: {text}", exc_info=error)


@final
class _One(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    @override
    def collect(self) -> Iterable[Metric]:
        return [self._family]


def joined(ours: bytes, theirs: bytes) -> bytes:
    """One page out of two, with the end mark of OpenMetrics behind both."""
    if ours.endswith(END):
        return ours.removesuffix(END) + theirs + END
    return ours + theirs
