"""The reference of error codes, from the tree below `HubError`."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc

import hub
from hub.errors import HubError

_INTRODUCTION = """
Every error of hub is a class below `hub.HubError`. Its `code` is stable: it is the `code` of a problem
([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) over HTTP, and `status` the status of that reply. An error that ends a process
decides its exit code. [The gateway's API](../api.md#errors) says which of them a client sees and what to do;
[the Python client](../client.md#errors) raises classes of its own, with the same codes.
""".strip()


def errors_page() -> str:
    lines = ["# Error codes", "", _INTRODUCTION, "", "| code | status | exit code | meaning |", "|---|---|---|---|"]
    by_code = sorted(errors_of_hub(), key=lambda each: (each.code, each.__name__))
    lines += [
        f"| `{each.code}` | {each.status} | {each.exit_code} | {_meaning(each)} (`{each.__name__}`) |"
        for each in by_code
    ]
    return "\n".join(lines) + "\n"


def errors_of_hub() -> Iterator[type[HubError]]:
    """Each class that has a code of its own."""
    for module in pkgutil.walk_packages(hub.__path__, "hub."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    todo: list[type[HubError]] = [HubError]
    seen: set[type[HubError]] = set()
    while todo:
        each = todo.pop()
        if each in seen:
            continue
        seen.add(each)
        todo += each.__subclasses__()
        if each.__module__.startswith("hub.") and "code" in vars(each):
            yield each


def _meaning(error: type[HubError]) -> str:
    text = cleandoc(error.__doc__ or error.title).split("\n\n")[0].replace("\n", " ")
    return re.sub(r"(?<!\\)\|", r"\\|", text)
