"""How long the runs of each model take, as far as this gateway has seen."""

from __future__ import annotations

from typing import Final, final

from hub.task import TaskRecord
from hub.types import ModelName

WEIGHT: Final = 0.1
"""What one more run counts against all before it: after some twenty runs a model has a new mean."""

UNKNOWN: Final = 1.0
"""Seconds that a run is taken for before one was seen."""


@final
class MeanRunTimes:
    """A moving mean of run times for each model. Models that were never served get no entry, so it stays small."""

    def __init__(self) -> None:
        self._means: dict[ModelName, float] = {}
        self._last_ends: dict[ModelName, float] = {}

    def seen(self, record: TaskRecord) -> None:
        """Takes in the run of a task that has ended; one that is looked at again and again counts once."""
        outcome = record.outcome
        if outcome is None or outcome.started_at is None:
            return
        if outcome.finished_at > self._last_ends.get(record.model, 0.0):
            self._last_ends[record.model] = outcome.finished_at
            took = max(0.0, outcome.finished_at - outcome.started_at)
            mean = self._means.get(record.model, took)
            self._means[record.model] = mean + WEIGHT * (took - mean)

    def mean(self, model: ModelName) -> float:
        """Seconds that a run of the model takes."""
        return self._means.get(model, UNKNOWN)
