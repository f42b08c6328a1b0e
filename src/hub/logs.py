"""Logging of a process: structlog for ours, the same form for what libraries log through the standard library."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog
from structlog.typing import Processor

from hub.settings import LogFormat, LogLevel

# Libraries that report at INFO what we log ourselves, or that log each request.
_QUIET = ("httpx2", "httpcore2", "uvicorn.error", "coredis", "aiormq", "trio", "anycorn")

# Tracebacks without the local variables that structlog shows by itself: the settings are among them, with their secrets.
_FRAMES: Final = structlog.dev.RichTracebackFormatter(show_locals=False)
_FRAMES_AS_JSON: Final = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def configure_logging(level: LogLevel, form: LogFormat) -> None:
    """Sets the logging of this process up. Lines go to standard error; context variables become fields."""
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
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
