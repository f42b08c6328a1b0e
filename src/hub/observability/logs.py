"""Logging of a process: structlog for ours, the same form for what libraries log through the standard library."""

from __future__ import annotations

import logging
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

# Libraries that report at INFO what we log ourselves, or that log each request.
_QUIET: Final = ("httpx2", "httpcore2", "trio")

# Libraries that log an error, some with a traceback, for each attempt that fails; we get the same error and log it once.
_SILENT: Final = ("coredis", "aiormq")

_COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")

_log: FilteringBoundLogger = structlog.get_logger(__name__)


_configured: tuple[LogLevel, LogFormat] = "warning", "console"


def configured() -> tuple[LogLevel, LogFormat]:
    """Level and format of this process's log, for its child processes; what Python shows by default before they are set."""
    return _configured


def configure_logging(level: LogLevel, form: LogFormat, *, redact: Callable[[str], str] = redacted) -> None:
    """Sets the logging of this process up. Lines go to standard error; context variables become fields.

    Warnings of Python become lines too, and so do errors that nothing catches, in the main thread or in any other. See
    `hub.observability.log_lines` for the limits of a line.

    Args:
        level: Least severe lines to show.
        form: For people, or for programs.
        redact: Takes the secrets out of each line.
    """
    global _configured  # noqa: PLW0603 - as the logging of the process is itself
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            redact,
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                LineRenderer(form, colors=sys.stderr.isatty(), encoding=sys.stderr.encoding),
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
    """Makes the line of a record. No line shows a secret, whatever has logged it: the last line of defence."""

    def __init__(self, redact: Callable[[str], str], **options: Any) -> None:
        super().__init__(**options)
        self._redact = redact

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        plain = _COLOURS.sub("", line)  # which may be in the middle of a URL
        shown = self._redact(plain)
        return line if shown == plain else shown

    def _line(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):  # it comes from structlog
            return super().format(record)
        try:
            text = record.getMessage().rstrip()
        except Exception as broken:  # noqa: BLE001 - arguments that do not fit the text, or that cannot be shown
            text = f"{bounded_repr(record.msg, 500)} with arguments that it cannot take: {type(broken).__qualname__}"
        plain = logging.makeLogRecord(record.__dict__)  # other handlers may want the record as it was
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
