"""No 5xx, no answer that is not described. HUB_TEST_EXAMPLES=200 tries more than the usual examples of each operation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest

from tests.browser.conftest import Addresses, running_hub
from tests.described.run import conformance

EXAMPLES: Final = int(os.environ.get("HUB_TEST_EXAMPLES", "10"))
SECONDS: Final = 30.0 + 6.0 * EXAMPLES


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def hub_of(request: pytest.FixtureRequest) -> Iterator[Addresses]:
    with running_hub(["examples.model_a:ModelA"], 0, backend=request.param) as addresses:
        yield addresses


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("component", ["gateway", "registry", "instance"])
def test_every_answer_is_one_that_the_description_has(hub_of: Addresses, component: str, tmp_path: Path) -> None:
    registry = hub_of.registry.removesuffix("/docs")
    urls = {"gateway": hub_of.gateway, "registry": registry}
    if component == "instance":
        with urlopen(f"{registry}/v1/instances") as reply:
            urls["instance"] = json.load(reply)["instances"][0]["url"]

    found = conformance(urls[component], examples=EXAMPLES, seconds=SECONDS, report=tmp_path)

    assert not found, found
