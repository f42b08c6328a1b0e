"""Errors of a batch: in the answer to a line, or in the last answer of a batch that ends early."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from hub.errors import HubError


@final
class LineTooLong(HubError):
    """A line of a batch is longer than the body of a single request may be."""

    code = "content_too_large"
    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    @override
    def __str__(self) -> str:
        return f"the line is longer than {self.limit} bytes, the limit of this gateway for one request"


@final
class TooManyBlanks(HubError):
    """A batch has far more blank lines than requests."""

    code = "content_too_large"
    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int, index: int) -> None:
        super().__init__(limit, index)
        self.limit = limit
        self.index = index

    @override
    def __str__(self) -> str:
        return (
            f"the batch has more than {self.limit} bytes of blank lines beyond those of its requests; line {self.index} and "
            "all after it were not accepted, send them without blank lines"
        )


@final
class BatchInterrupted(HubError):
    """The gateway stops in the middle of a batch."""

    code = "batch_interrupted"
    status = 503
    title = "The gateway stops"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index

    @override
    def __str__(self) -> str:
        return f"this gateway stops; line {self.index} and all after it were not accepted, send them again"

    @property
    @override
    def retry_after(self) -> float | None:
        return 1.0
