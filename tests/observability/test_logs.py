"""The log of a process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from textwrap import dedent
from typing import cast

import pytest

from hub.observability.log_lines import LINE_LIMIT

SECRET = "s3cret" * 4
BEGIN = """
    import logging, os, sys, threading, warnings
    import structlog
    from hub.observability.logs import configure_logging

    configure_logging("debug", "{form}")
    log = structlog.get_logger("hub.test")
"""

FORMS = pytest.mark.parametrize("form", ["console", "json"])


def log_of(program: str, form: str, *, code: int = 0) -> list[str]:
    """The lines that a program of its own writes to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(BEGIN).format(form=form) + dedent(program)], capture_output=True, check=False
    )
    text = done.stderr.decode()
    assert done.returncode == code, text
    lines = text.removesuffix("\n").split("\n")
    assert all(len(line) <= LINE_LIMIT for line in lines)
    assert "\x1b" not in text
    return lines


def fields(line: str) -> Mapping[str, object]:
    return cast("Mapping[str, object]", json.loads(line))


CRASH = f"""
    from hub.settings.registry import RegistrySettings

    def fail(settings):
        raise RuntimeError("no such luck")

    try:
        fail(RegistrySettings(token="{SECRET}", broker_url="amqp://hub:{SECRET}@rabbitmq"))
    except RuntimeError as error:
        log.critical("the process failed", exc_info=error)
"""


@FORMS
def test_a_traceback_in_the_log_shows_no_secrets(form: str) -> None:
    written = log_of(CRASH, form)

    text = "\n".join(written)
    assert "no such luck" in text
    assert "in fail" in text or '"fail"' in text
    assert SECRET not in text
    assert "locals" not in text
    if form == "json":
        [line] = written
        assert json.loads(line)["exception"][0]["exc_value"] == "no such luck"
        assert json.loads(line)["exception"][0]["frames"][0]["name"] == "fail"
    else:
        assert "RuntimeError: no such luck" in written[1]
        assert len(written) <= 15


AWKWARD = """
    texts = ["x" * 100_000, "\\u6587" * 100_000, "\\U0001f600" * 100_000, "\\udc80" * 100_000, "\\n" * 100_000,
             "\\x1b[31m" * 100_000, "\\\\" * 100_000, '"' * 100_000]

    class Broken:
        def __repr__(self):
            raise RuntimeError
        __str__ = __repr__

    for text in texts:
        log.info(text, field=text, other=text)
        log.info("event", **{text[:3000]: text, "list": [text] * 1000, "number": 10 ** 100_000, "broken": Broken()})
        log.info("event", **{f"field{n}": text for n in range(200)})
        logging.getLogger("library").error("%s and %s", text, text)
        logging.getLogger("library").info("a field", extra={"field": text})
        warnings.warn(text)
        try:
            raise ExceptionGroup(text, [type(text[:300].replace("\\udc80", "s"), (ValueError,), {})(text)] * 50)
        except ExceptionGroup as error:
            log.error(text, exc_info=error, field=text)
            logging.getLogger("library").exception("it failed")
    logging.getLogger("library").error("%d and %s", "one")
    logging.getLogger("library").error("%s", Broken())
    log.error("no error", exc_info=True)
    log.error("no error", exc_info=(None, None, None))
    log.info(b"bytes", stack_info=True)
"""


@FORMS
def test_lines_are_bounded_and_cannot_be_forged(form: str) -> None:
    written = log_of(AWKWARD, form)

    if form == "json":
        assert len(written) == 8 * 8 + 5
        for line in written:
            assert {"event", "level", "timestamp", "logger"} <= fields(line).keys()
    else:
        beginnings = [line for line in written if not line.startswith("  ")]
        assert len(beginnings) == 8 * 8 + 5
        assert all(line.startswith("20") and "Z [" in line[:40] for line in beginnings)
        assert all(line.isprintable() for line in written)


@FORMS
def test_fields_that_identify_the_source_are_never_left_out(form: str) -> None:
    [line] = log_of('log.info("x" * 9000, a="y" * 9000, **{"task": "t-1", "model": "Echo", "instance": "i-1"})', form)

    for text in ("t-1", "Echo", "i-1", "info", "hub.test"):
        assert text in line


@FORMS
def test_an_ordinary_line_is_unchanged(form: str) -> None:
    [line] = log_of("""log.info("it's up", url="http://a/b?c", text="it's", number=1, ratio=0.5, none=None)""", form)

    if form == "json":
        found = dict(fields(line))
        del found["timestamp"]
        assert found == {
            "event": "it's up",
            "url": "http://a/b?c",
            "text": "it's",
            "number": 1,
            "ratio": 0.5,
            "none": None,
            "level": "info",
            "logger": "hub.test",
        }
    else:
        assert "it's up" in line
        assert line.endswith('none=None number=1 ratio=0.5 text="it\'s" url=http://a/b?c') or "number=1" in line


@FORMS
def test_warnings_are_logged(form: str) -> None:
    [line] = log_of("""warnings.warn("careful")""", form)

    assert "UserWarning: careful" in line
    assert "py.warnings" in line


@FORMS
def test_a_record_with_invalid_arguments_is_logged(form: str) -> None:
    [line] = log_of("""logging.getLogger("library").error("%d tokens", "many")""", form)

    assert "'%d tokens' with arguments that do not match: TypeError" in line
    assert "library" in line


UNCAUGHT = """
    class Model:
        def fail(self):
            raise ValueError("no such voice\\n" * 1000)

    {}
"""


@FORMS
@pytest.mark.parametrize(
    ("fail", "event", "code"),
    [
        ("Model().fail()", "an error ended the process", 1),
        ("t = threading.Thread(target=Model().fail, name='mine'); t.start(); t.join()", "an error ended a thread", 0),
        ("Model.__del__ = Model.fail; Model()", "an error was ignored", 0),
    ],
)
def test_an_uncaught_error_is_logged_like_any_other(form: str, fail: str, event: str, code: int) -> None:
    written = log_of(UNCAUGHT.format(fail), form, code=code)

    assert event in written[0]
    assert "ValueError" in "".join(written)
    assert len(written) <= (15 if form == "console" else 1)


def test_a_log_in_another_encoding_has_no_longer_lines() -> None:
    program = dedent(BEGIN).format(form="console") + 'log.info("\\u6587" * 10_000)'
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii:backslashreplace", "PATH": ""},
    )

    assert rb"\u6587\u6587" in done.stderr
    assert len(done.stderr) <= LINE_LIMIT


@pytest.mark.parametrize(("wanted", "coloured"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colours_unless_they_are_not_wanted(wanted: dict[str, str], coloured: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | wanted
    program = dedent(BEGIN).format(form="console") + "log.info('an event')"
    screen, terminal = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", program], stderr=terminal, env=environment, check=True)
        line = os.read(screen, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(screen)
    assert "an event" in line
    assert ("\x1b[" in line) is coloured
