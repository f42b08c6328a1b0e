"""A part of the overview: one page of the models that a filter leaves, in an order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from msgspec import structs

from hub.gateway.errors import BadParameter
from hub.gateway.schemas import ModelOverviewBody, OverviewBody

ORDERS: Final[Mapping[str, Callable[[ModelOverviewBody], float]]] = {
    "name": lambda _: 0,
    "waiting": lambda model: model.queue.ready if model.queue else 0,
    "running": lambda model: model.work.in_flight if model.work else 0,
    "finished": lambda model: (model.work and model.work.finished_per_second) or 0,
    "failing": lambda model: (model.work and model.work.failed_per_second) or 0,
    "dead": lambda model: model.queue.dead if model.queue else 0,
}
"""What comes first: the most of it. Models with as much of it, and all in the order `name`, are by name."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewView:
    """Which models of the overview are wanted.

    Attributes:
        name: A part of their names, in whatever case.
        sort: One of `ORDERS`.
        offset: Models before the first one of the page.
        limit: Models of the page; 0: all of them.
    """

    name: str = ""
    sort: str = "name"
    offset: int = 0
    limit: int = 0

    def __post_init__(self) -> None:
        """Refuses what no view can have.

        Raises:
            BadParameter: An unknown order, or a number below 0.
        """
        if self.sort not in ORDERS:
            raise BadParameter(f"sort is {self.sort!r}; it must be one of {', '.join(ORDERS)}")
        if min(self.offset, self.limit) < 0:
            raise BadParameter(f"offset is {self.offset} and limit is {self.limit}; neither may be below 0")

    @classmethod
    def from_parameters(cls, given: Mapping[str, str]) -> OverviewView:
        """The view that the parameters of a URL ask for.

        Raises:
            BadParameter: One has no such value.
        """
        try:
            offset, limit = (int(given.get(name, "0")) for name in ("offset", "limit"))
        except ValueError as error:
            raise BadParameter("offset and limit must be whole numbers") from error
        return cls(name=given.get("name", ""), sort=given.get("sort", "name"), offset=offset, limit=limit)

    @property
    def is_all(self) -> bool:
        return self == _ALL

    def names(self, sample: OverviewBody) -> Sequence[str]:
        """The names of the models on the page."""
        order = ORDERS[self.sort]
        found = sorted(self._matching(sample), key=lambda model: (-order(model), model.name))
        return [model.name for model in found[self.offset : self.offset + self.limit if self.limit else None]]

    def part(self, sample: OverviewBody, names: Collection[str]) -> OverviewBody:
        """The sample with the models of these names only, in this order."""
        if self.is_all:
            return sample
        wanted = set(names)
        found = {model.name: model for model in sample.models if model.name in wanted}
        models = tuple(found[name] for name in names if name in found)
        return structs.replace(sample, models=models, matching=sum(1 for _ in self._matching(sample)))

    def _matching(self, sample: OverviewBody) -> Sequence[ModelOverviewBody]:
        wanted = self.name.casefold()
        return [model for model in sample.models if wanted in model.name.casefold()]


_ALL: Final = OverviewView()
