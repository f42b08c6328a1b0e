"""What an instance may say of the tasks of its model."""

from __future__ import annotations

from math import isfinite

from hub.ports.directory import ModelLimits
from hub.registry.client.errors import InvalidLogin


def check_terms(limits: ModelLimits) -> None:
    """Refuses terms that no task could be held to.

    Raises:
        InvalidLogin: Names the field, and what would be right.
    """
    if limits.concurrency < 1:
        raise InvalidLogin("terms.concurrency", f"{limits.concurrency} is less than one task at a time: say 1 or more")
    for name, timeout in (("default_timeout", limits.default_timeout), ("max_timeout", limits.max_timeout)):
        if timeout is not None and not (isfinite(timeout) and timeout > 0):
            raise InvalidLogin(
                f"terms.{name}", f"{timeout:g} is no time to run in: say seconds above 0, or leave it out"
            )
    if (
        limits.default_timeout is not None
        and limits.max_timeout is not None
        and limits.default_timeout > limits.max_timeout
    ):
        raise InvalidLogin(
            "terms.default_timeout",
            f"it is {limits.default_timeout:g} s, and max_timeout is {limits.max_timeout:g} s: lower the one, or raise the "
            "other",
        )
