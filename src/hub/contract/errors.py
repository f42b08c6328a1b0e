"""Errors of contracts, of JSON documents, and of messages without a JSON form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from typing_extensions import override

from hub.errors import HubError

JsonPath: TypeAlias = tuple[str | int, ...]
"""Member names and list indices, outermost first."""

MAX_PROBLEMS: Final = 100
"""Problems that one error lists; a document can have millions."""


class InvalidContract(HubError):
    """Descriptors that are not a contract: damaged, incomplete, too big, or in conflict with protobuf's own."""

    code = "invalid_contract"
    status = 422
    title = "Invalid contract"
    exit_code = 2

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @override
    def __str__(self) -> str:
        return f"the descriptors are not a contract: {self.reason}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One error in a JSON document.

    Attributes:
        pointer: JSON pointer (RFC 6901) to the value; empty for the whole document.
        message: The error and the repair.
    """

    pointer: str
    message: str


SHOWN: Final = 5
"""Problems in the text of the exception; its attribute has all."""


class InvalidDocument(HubError):
    """A JSON document that is not the ProtoJSON form of a message. Every invalid field is listed, up to a limit.

    Attributes:
        message: Full name of the message.
        problems: The errors, in the order of the document.
        more: Whether there may be others, because reading stopped at the limit.
    """

    code = "invalid_document"
    status = 422
    title = "The document does not fit the message"

    def __init__(self, message: str, problems: Sequence[Problem], more: bool = False) -> None:  # noqa: FBT001, FBT002 - pickling passes `args` by position
        super().__init__(message, problems, more)
        self.message = message
        self.problems = tuple(problems)
        self.more = more

    @override
    def __str__(self) -> str:
        return f"not a valid {self.message} in JSON: {self._places}"

    @property
    def _places(self) -> str:
        shown = self.problems[:SHOWN]
        places = "; ".join(f"{problem.pointer or 'the document'}: {problem.message}" for problem in shown)
        rest = len(self.problems) - len(shown)
        if self.more:
            places += f"; and {rest} more in `errors`, where the list ends" if rest else ""
            places += ": the rest of the document was not checked"
        elif rest:
            places += f"; and {rest} more in `errors`"
        return places

    @property
    @override
    def extensions(self) -> dict[str, object]:
        errors = [{"pointer": problem.pointer, "message": problem.message} for problem in self.problems]
        return {"errors": errors, "errors_complete": False} if self.more else {"errors": errors}


class BrokenRules(InvalidDocument):
    """A message that its type allows, with values that the rules in its `.proto` file do not (`buf.validate`).

    For a message that came as protobuf the pointers are those of its JSON form.
    """

    title = "The message breaks its rules"

    @override
    def __str__(self) -> str:
        return f"{self.message} breaks its rules: {self._places}"


class MalformedJson(HubError):
    """Bytes that are not a JSON text (RFC 8259).

    Attributes:
        line: Line of the first invalid byte, from 1.
        column: Byte in that line, from 1.
    """

    code = "malformed_json"
    status = 400
    title = "Malformed JSON"

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason, line, column)
        self.reason = reason
        self.line = line
        self.column = column

    @override
    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.reason}"

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"line": self.line, "column": self.column}


class NotJsonRepresentable(HubError):
    """A message that ProtoJSON cannot express, such as a `Timestamp` in the year 10000 or an `Any` of unknown type.

    The author of the message has to change it; binary protobuf can still transport it.
    """

    code = "not_json_representable"
    status = 502
    title = "The message has no JSON form"

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message, problem)
        self.message = message
        self.problem = problem

    @override
    def __str__(self) -> str:
        return f"{self.message} has no JSON form: {self.problem.pointer or 'the message'}: {self.problem.message}"

    @property
    @override
    def extensions(self) -> dict[str, object]:
        return {"errors": [{"pointer": self.problem.pointer, "message": self.problem.message}]}
