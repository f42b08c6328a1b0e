"""What the routes of every server are written with: the type of a request, and values that Litestar injects."""

from __future__ import annotations

from typing import TypeAlias

from litestar import Request
from litestar.datastructures import State
from litestar.di import Provide

HttpRequest: TypeAlias = Request[None, None, State]


def provide(value: object) -> Provide:
    """A dependency that is `value` for every request."""

    def dependency() -> object:
        return value

    return Provide(dependency, sync_to_thread=False)
