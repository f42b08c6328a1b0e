"""Single precision numbers in as few decimal digits as tell them apart.

A `float` field holds 0.1 as 0.10000000149011612; what its author wrote, and what protobuf prints, is 0.1.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

_PRECISIONS: Final = ("%.6g", "%.7g", "%.8g", "%.9g")
"""Six digits are always exact, nine always enough (IEEE 754 binary32)."""

_EXACT: Final = 2.0**24
"""Up to here every integer is a single precision number of its own."""


def shortest_float32(value: float) -> float:
    """The number with the fewest digits, at least six, that rounds to the finite single precision `value`."""
    if -_EXACT <= value <= _EXACT and value.is_integer():
        return value
    for precision in _PRECISIONS:
        short = float(precision % value)
        if array("f", (short,))[0] == value:
            return short
    return value


def shortest_float32s(values: Sequence[float]) -> list[float]:
    """`shortest_float32` of many finite values; several times faster than one by one."""
    shortest = list(values)
    waiting = [
        index for index, value in enumerate(shortest) if not value.is_integer() or not -_EXACT <= value <= _EXACT
    ]
    for precision in _PRECISIONS:
        if not waiting:
            break
        short = [float(precision % values[index]) for index in waiting]
        longer: list[int] = []
        for index, candidate, rounded in zip(waiting, short, array("f", short), strict=True):
            if rounded == values[index]:
                shortest[index] = candidate
            else:
                longer.append(index)
        waiting = longer
    return shortest
