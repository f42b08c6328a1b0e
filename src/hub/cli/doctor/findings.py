"""What `hub doctor` has found: lines with a status, each problem with its repair."""

from __future__ import annotations

from enum import StrEnum
from typing import final

from msgspec import Struct


class Status(StrEnum):
    """How a check ended. Only `PROBLEM` makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"
    """The server does not tell, or not this user; the repair says how to find out."""


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check.

    Attributes:
        area: The part of the installation: `process`, `settings`, `ports`, `broker`, `store`, `directory`, `registry`, `gateway`.
        check: A stable name of the check within its area, for programs.
        message: What was seen.
        repair: What to do about it; empty for `ok`.
    """

    area: str
    check: str
    status: Status
    message: str
    repair: str = ""


@final
class Findings:
    """The findings about one area, in the order in which they were made."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.found: list[Finding] = []

    def ok(self, check: str, message: str) -> None:
        self._add(check, Status.OK, message, "")

    def warning(self, check: str, message: str, repair: str) -> None:
        self._add(check, Status.WARNING, message, repair)

    def problem(self, check: str, message: str, repair: str) -> None:
        self._add(check, Status.PROBLEM, message, repair)

    def unknown(self, check: str, message: str, repair: str) -> None:
        self._add(check, Status.UNKNOWN, message, repair)

    def _add(self, check: str, status: Status, message: str, repair: str) -> None:
        self.found.append(Finding(area=self.area, check=check, status=status, message=message, repair=repair))
