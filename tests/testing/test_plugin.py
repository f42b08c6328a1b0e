"""The pytest plugin: `hub_client`, `hub_virtual_backend`, and no import of hub without need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

import hub
import hub.testing
from examples.model_a.v1.model_a_pb2 import ModelARequest
from tests.testing.models import Echo, Plain

WRONG = """
import pytest

async def test_without_models(hub_client):
    pass

class TestPlain:
    @pytest.fixture
    def hub_models(self):
        return [object]

    def test_plain(self, hub_client):
        pass
"""

UNRELATED = """
import sys

def test_that_needs_no_hub():
    assert "hub" not in sys.modules
    assert "pytest_hub" in sys.modules
"""

VIRTUAL = """
import anyio
import pytest

@pytest.fixture(scope="module")
def anyio_backend(hub_virtual_backend):
    return hub_virtual_backend

async def test_a_long_sleep():
    await anyio.sleep(1e6)
    assert 1e6 <= anyio.current_time() < 1e6 + 1
"""


@pytest.fixture
def hub_models() -> list[type[hub.Model[Any, Any]]]:
    return [Echo, Plain]


async def test_a_test_gets_a_client_of_its_models(hub_client: hub.testing.LocalClient) -> None:
    with anyio.fail_after(20):
        assert (await hub_client.call(Echo, ModelARequest(messages="hello"))).reply == "hello 1"
        assert (await hub_client.call(Plain, ModelARequest(messages="hello"))).reply == "HELLO"


class TestInAClass:
    @pytest.mark.parametrize("word", ["one", "two"])
    async def test_a_method_with_other_arguments(self, hub_client: hub.testing.LocalClient, word: str) -> None:
        with anyio.fail_after(20):
            assert (await hub_client.call(Echo, ModelARequest(messages=word))).reply == f"{word} 1"


@pytest.mark.slow
def test_what_pytest_prints_in_another_project(tmp_path: Path) -> None:
    for name, text in (("wrong", WRONG), ("unrelated", UNRELATED), ("virtual", VIRTUAL)):
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\nanyio_mode = auto\naddopts = --strict-markers -p no:schemathesis\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "test_unrelated.py",
            "test_virtual.py",
            "test_wrong.py",
        ],
        cwd=tmp_path,
        env={
            name: value for name, value in os.environ.items() if name != "CI"
        },  # with it pytest writes longer summaries
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout
    assert "failed" not in done.stdout.replace("test_wrong.py", "")
    assert done.stdout.count("write a fixture hub_models") == 2
    assert "needs an `async def` test" in done.stdout
