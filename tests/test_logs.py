"""What a process says of itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SECRET = "s3cret" * 4
CRASH = """
import structlog
from hub.logs import configure_logging
from hub.settings import RegistrySettings

configure_logging("info", "{form}")

def fail(settings):
    raise RuntimeError("no such luck")

try:
    fail(RegistrySettings(token="{secret}", broker_url="amqp://hub:{secret}@rabbitmq"))
except RuntimeError as error:
    structlog.get_logger("hub").critical("the process failed", exc_info=error)
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_in_the_log_shows_no_secrets(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(form=form, secret=SECRET)], capture_output=True, text=True, check=True
    )

    assert "no such luck" in done.stderr
    assert "fail" in done.stderr
    assert SECRET not in done.stderr
    assert "locals" not in done.stderr
    if form == "json":
        [line] = done.stderr.splitlines()
        assert json.loads(line)["exception"][0]["exc_value"] == "no such luck"
