"""No 5xx, no answer that is not described. HUB_TEST_EXAMPLES=200 tries more than the usual examples of each operation."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest
from schemathesis.checks import CHECKS, load_all_checks

from tests.browser.conftest import running_hub
from tests.described.run import CONFIG, conformance

EXAMPLES: Final = int(os.environ.get("HUB_TEST_EXAMPLES", "10"))
OF_GUARDED: Final = min(3, EXAMPLES)
"""Examples where a credential is asked for: the answers are the same, but for those without one."""

SECONDS: Final = 30.0 + 6.0 * EXAMPLES

COMPONENTS: Final = ("gateway", "registry", "instance")
TOKEN: Final = "a-token-of-the-tests"
GUARDED: Final = {"token": TOKEN, "api_keys": TOKEN}

HARMLESS_5XX: Final = {"Problem", "Busy"}
"""Responses of the descriptions that a status may have anywhere; an exception for a status needs a description of its own."""


@dataclass(frozen=True, slots=True)
class Server:
    """One component, and the credential that it asks for."""

    url: str
    credential: str

    def description(self) -> dict[str, Any]:
        found: dict[str, Any] = read(f"{self.url}/openapi.json", self.credential)
        return found


def read(url: str, credential: str) -> Any:
    headers = {"Authorization": f"Bearer {credential}"} if credential else {}
    with urlopen(Request(url, headers=headers)) as reply:
        return json.load(reply)


@pytest.fixture(scope="module", params=["asyncio", "trio", "asyncio-guarded", "trio-guarded"])
def servers(request: pytest.FixtureRequest) -> Iterator[dict[str, Server]]:
    backend, _, guarded = request.param.partition("-")
    # A machine that is busy with other tests is no gateway that does not keep up.
    settings = {"backend": backend, "busy_after": "60", **(GUARDED if guarded else {})}
    models = ["examples.model_a:ModelA"] if guarded else ["examples.model_a:ModelA", "examples.writer:Writer"]
    with running_hub(models, 0, **settings) as addresses:
        credential = TOKEN if guarded else ""
        registry = addresses.registry.removesuffix("/docs")
        instance = read(f"{registry}/v1/instances", credential)["instances"][0]["url"]
        yield {
            component: Server(url, credential)
            for component, url in zip(COMPONENTS, (addresses.gateway, registry, instance), strict=True)
        }


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("component", COMPONENTS)
def test_every_answer_is_one_that_the_description_has(
    servers: dict[str, Server], component: str, tmp_path: Path
) -> None:
    server = servers[component]
    examples = OF_GUARDED if server.credential else EXAMPLES

    done = conformance(server.url, examples=examples, seconds=SECONDS, report=tmp_path, credential=server.credential)

    assert not done.found, done.found
    load_all_checks()
    assert done.checks == set(CHECKS.get_all_names())
    assert {"coverage", "fuzzing"} <= done.phases
    assert "stateful" in done.phases or component == "instance"  # whose replies lead to nothing: no links


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_server_error_is_expected_only_where_the_description_has_it(
    servers: dict[str, Server], component: str
) -> None:
    """The configuration of schemathesis against the description: 502 to 504 are said with a meaning of their own."""
    paths = servers[component].description()["paths"]
    for rule in tomllib.loads(CONFIG.read_text())["operations"]:
        expected = rule.get("checks", {}).get("not_a_server_error", {}).get("expected-statuses", [])
        statuses = {str(status) for status in expected if str(status).startswith("5")}
        matching = rule.get("include-path-regex") or f"^{re.escape(rule['include-path'])}$"
        for path in filter(re.compile(matching).search, paths):
            for method, operation in paths[path].items():
                of_method = method.upper() == rule.get("include-method", method.upper())
                if of_method and rule.get("include-tag", "") in ("", *operation.get("tags", [])):
                    described = {
                        status
                        for status, response in operation["responses"].items()
                        if response.get("$ref", "").rpartition("/")[2] not in HARMLESS_5XX
                    }
                    assert statuses <= described, (method, path)


def test_no_check_is_off_and_no_server_error_expected_for_all_operations() -> None:
    assert set(tomllib.loads(CONFIG.read_text())) == {"generation", "operations"}
