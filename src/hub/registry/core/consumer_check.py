"""The second signal: what the broker counts, beside what instances say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import final

from hub.registry.core.state import RegistryState
from hub.registry.core.table import LOOKS
from hub.types import InstanceState, ModelName


@final
class ConsumerCheck:
    """Compares the consumers of each queue with the instances that are live. Call it with each look.

    With no consumer at all every live instance of the model is deaf; see `Table.looked`. With fewer consumers than
    live instances nobody can tell whose are missing: that is shown for the model.
    """

    def __init__(self, roll: RegistryState) -> None:
        self._roll = roll
        self._short: Counter[ModelName] = Counter()
        self._missing: dict[ModelName, int] = {}
        self._shortfalls: Counter[ModelName] = Counter()

    def __call__(self, consumers: Mapping[ModelName, int], began: float) -> None:
        """Takes in a look that began at a Unix time."""
        self._roll.apply(self._roll.table.looked(consumers, began=began, among=self._roll.holdings))
        lives = {model.name: model.count(InstanceState.LIVE) for model in self._roll.table.models()}
        for name, count in consumers.items():
            live = lives.get(name, 0)
            self._short[name] = self._short[name] + 1 if count < live else 0
            if self._short[name] >= LOOKS:
                self._shortfalls[name] += self._short[name] == LOOKS
                self._missing[name] = live - count
            else:
                self._missing.pop(name, None)

    def missing(self, model: ModelName) -> int:
        """Consumers that the broker counts fewer than there are live instances, in two looks in a row; else 0."""
        return self._missing.get(model, 0)

    @property
    def shortfalls(self) -> Mapping[ModelName, int]:
        """How often consumers began to be missing, by model."""
        return self._shortfalls
