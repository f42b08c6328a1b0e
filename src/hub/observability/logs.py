"""Logging of a process: structlog for hub, and the same format for libraries that use the standard library."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, final

import structlog
from structlog.typing import FilteringBoundLogger, Processor
from typing_extensions import override

from hub.concurrency.threads import on_error_in_thread
from hub.observability.log_lines import LineRenderer
from hub.observability.redaction import redacted
from hub.safe_text import bounded_repr
from hub.types import LogFormat, LogLevel

# Libraries that log at INFO what hub logs too, or that log each request.
_QUIET: Final = ("httpx2", "httpcore2", "trio")

# Libraries that log each failed attempt, some with a traceback; hub receives the same error and logs it once.
_SILENT: Final = ("aiormq",)

_COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")

_log: FilteringBoundLogger = structlog.get_logger(__name__)


_configured: tuple[LogLevel, LogFormat] = "warning", "console"


def configured() -> tuple[LogLevel, LogFormat]:
    """Level and format of this process's log, for its child processes; before `configure_logging`, Python's defaults."""
    return _configured


def configure_logging(level: LogLevel, form: LogFormat, *, redact: Callable[[str], str] = redacted) -> None:
    """Sets up the logging of this process. Lines go to standard error; context variables become fields.

    Warnings of Python are logged too, and uncaught errors of all threads. See
    `hub.observability.log_lines` for the limits of a line.

    Args:
        level: Least severe lines to show.
        form: `console` or `json`.
        redact: Removes secrets from a line.
    """
    global _configured  # noqa: PLW0603 - logging itself is global
    _configured = level, form
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            redact,
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                LineRenderer(form, colors=colors, encoding=sys.stderr.encoding),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.excepthook = _on_uncaught_error
    sys.unraisablehook = _on_ignored_error
    on_error_in_thread(_on_error_in_thread)


@final
class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Formats a record as a line, and removes secrets from it, whatever its source."""

    def __init__(self, redact: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self._redact = redact

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        plain = _COLOURS.sub("", line)  # a color code may be in the middle of a URL
        shown = self._redact(plain)
        return line if shown == plain else shown

    def _line(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):  # from structlog
            return super().format(record)
        try:
            text = record.getMessage().rstrip()
        except Exception as broken:  # noqa: BLE001 - arguments that do not match the text, or whose repr fails
            text = f"{bounded_repr(record.msg, 500)} with arguments that do not match: {type(broken).__qualname__}"
        plain = logging.makeLogRecord(record.__dict__)  # other handlers may need the original record
        plain.msg, plain.args = text, ()
        return super().format(plain)


def _on_uncaught_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("an error ended the process", exc_info=error)


def _on_error_in_thread(name: str, error: BaseException) -> None:
    _log.error("an error ended a thread", thread=name, exc_info=error)


def _on_ignored_error(ignored: sys.UnraisableHookArgs) -> None:
    _log.warning("an error was ignored", where=bounded_repr(ignored.object, 200), exc_info=ignored.exc_value)
