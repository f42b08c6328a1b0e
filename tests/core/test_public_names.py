"""The public names of `import hub`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import hub

SMALL = {"google", "typing_extensions", "uuid_utils"}
"""Distributions that `import hub` loads. Servers, drivers, event loops and the command line are not among them."""


def test_import_hub_loads_no_servers_and_no_contract_machinery() -> None:
    code = (
        "import sys; before = set(sys.modules); import hub; "
        "print(*sorted(name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names and not name.startswith('_')))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    own = {name for name in loaded if name.partition(".")[0] == "hub"}
    assert {name.partition(".")[0] for name in set(loaded) - own} == SMALL
    assert {".".join(name.split(".")[:2]) for name in own} == {
        "hub",
        "hub.errors",
        "hub.model",
        "hub.observability",
        "hub.safe_text",
        "hub.types",
    }


def test_the_version_is_that_of_the_package() -> None:
    assert hub.__version__ == version("hub-serving")


def test_every_public_error_is_a_hub_error_with_a_code_of_its_own() -> None:
    errors = [value for value in vars(hub).values() if isinstance(value, type) and issubclass(value, Exception)]

    assert all(issubclass(error, hub.HubError) for error in errors)
    assert len({error.code for error in errors if issubclass(error, hub.HubError)}) == len(errors)
