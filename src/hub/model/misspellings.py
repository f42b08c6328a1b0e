"""Misspelt names of hub's attributes in a model class: `concurency`, `set_up`, `timeout`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "timeout": ("default_timeout", "max_timeout"),
    "maxconcurrency": ("concurrency",),
    "maxconcurency": ("concurrency",),
    "workers": ("concurrency",),
    "numworkers": ("concurrency",),
    "maxworkers": ("concurrency",),
    "inprocess": ("run_in_process",),
    "stream": ("streaming",),
    "startup": ("setup",),
    "onstartup": ("setup",),
    "onstart": ("setup",),
    "shutdown": ("teardown",),
    "onshutdown": ("teardown",),
    "onstop": ("teardown",),
    "retries": ("retry",),
    "retrys": ("retry",),
    "maxretries": ("retry",),
    "retrypolicy": ("retry",),
    "healthcheck": ("health",),
    "checkhealth": ("health",),
    "batchsize": ("max_batch_size",),
    "maxbatch": ("max_batch_size",),
    "batchwait": ("max_batch_wait",),
    "batchtimeout": ("max_batch_wait",),
    "maxbatchdelay": ("max_batch_wait",),
    "batchwaittimeouts": ("max_batch_wait",),
    "maxlatencyms": ("max_batch_wait",),
}
"""Names in other systems, in lower case and without underscores, and the corresponding ones of hub."""

PROCESSING: Final = (
    "process",
    "process_requests",
    "predict",
    "handle",
    "infer",
    "forward",
    "run",
    "call",
    "execute",
    "__call__",
)
"""Names of `process_request` in other systems."""

BATCH_PROCESSING: Final = (
    "process_batches",
    "batch_process",
    "batch",
    "predict_batch",
    "batch_predict",
    "predict_on_batch",
    "handle_batch",
)
"""Names of `process_batch` in other systems."""

_SHORT: Final = 5
_MIDDLE: Final = 8
_LONG: Final = 11
"""Lengths, without underscores, from which more differences count as a misspelling: in short names only an exchange of
neighbours (`fname` is not `name`), then also an extra or missing letter, then a wrong letter, then two of them."""


def misspellings(
    own: Mapping[str, object], *, settings: Iterable[str], methods: Iterable[str], overridden: Iterable[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of a class that resemble one of hub's, each with the names that may have been meant.

    Private names, constants in capitals, nested classes, properties (and other descriptors) and plain annotations are not
    checked. A method is compared with methods only, and a value with settings; names that the class also defines in their
    correct form are left out.

    Args:
        own: The namespace of the class.
        settings: Names of class attributes of `Model`.
        methods: Names of methods of `Model`.
        overridden: Those that the class or one of its own bases defines.
    """
    settings, methods, overridden = set(settings), set(methods), set(overridden)
    for name, value in own.items():
        if name in settings | methods or name.startswith("_") or name.endswith("_") or name.isupper():
            continue
        is_method = _is_method(value)
        if isinstance(value, type) or (not is_method and _is_descriptor(value)):
            continue
        candidates = (methods if is_method else settings) - overridden
        meant = ALIASES.get(_plain(name), ())
        meant = meant if candidates.issuperset(meant) else ()
        meant = meant or tuple(sorted(each for each in candidates if _is_misspelling(_plain(name), _plain(each))))
        if meant:
            yield name, meant


def _is_method(value: object) -> bool:
    return callable(value) or isinstance(value, classmethod | staticmethod)


def _is_descriptor(value: object) -> bool:
    return hasattr(value, "__get__")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _is_misspelling(name: str, meant: str) -> bool:
    if name == meant:
        return True
    if name == f"{meant}s" or any(each.isdigit() for each in name):
        return False  # a plural, or a numbered name, is a different name
    distance = _distance(name, meant)
    if len(meant) < _SHORT:
        return distance == 1 and sorted(name) == sorted(meant)
    if len(meant) < _MIDDLE:
        return distance == 1 and (len(name) != len(meant) or sorted(name) == sorted(meant))
    return distance <= (1 if len(meant) < _LONG else 2)


def _distance(one: str, other: str) -> int:
    """The optimal string alignment distance: letters that are extra, missing, wrong, or exchanged with a neighbour."""
    table = [
        [row + column if row * column == 0 else 0 for column in range(len(other) + 1)] for row in range(len(one) + 1)
    ]
    for row in range(1, len(one) + 1):
        for column in range(1, len(other) + 1):
            same = one[row - 1] == other[column - 1]
            best = min(table[row - 1][column] + 1, table[row][column - 1] + 1, table[row - 1][column - 1] + (not same))
            if row > 1 and column > 1 and one[row - 1] == other[column - 2] and one[row - 2] == other[column - 1]:
                best = min(best, table[row - 2][column - 2] + 1)
            table[row][column] = best
    return table[-1][-1]
