"""Logging of a process: structlog for ours, the same form for what libraries log through the standard library."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any, Final, final

import structlog
from structlog.typing import Processor
from typing_extensions import override

from hub.redaction import redacted
from hub.settings import LogFormat, LogLevel

# Libraries that report at INFO what we log ourselves, or that log each request.
_QUIET = ("httpx2", "httpcore2", "uvicorn.error", "trio", "anycorn")

# Libraries that log an error, some with a traceback, for each attempt that fails; we get the same error and log it once.
_SILENT = ("coredis", "aiormq")

# Tracebacks without the local variables that structlog shows by itself: the settings are among them, with their secrets.
_FRAMES: Final = structlog.dev.RichTracebackFormatter(show_locals=False)
_FRAMES_AS_JSON: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


_COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")


@final
class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """The last line of defence: no line shows a secret, whoever has logged it."""

    def __init__(self, redact: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self._redact = redact

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        plain = _COLOURS.sub("", line)  # which may be in the middle of a URL
        shown = self._redact(plain)
        return line if shown == plain else shown


def configure_logging(level: LogLevel, form: LogFormat, *, redact: Callable[[str], str] = redacted) -> None:
    """Sets the logging of this process up. Lines go to standard error; context variables become fields.

    Args:
        level: Least severe lines to show.
        form: For people, or for programs.
        redact: Takes the secrets out of each line.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_FRAMES)]
        if form == "console"
        else [structlog.processors.ExceptionRenderer(_FRAMES_AS_JSON), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _RedactingFormatter(
            redact,
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
