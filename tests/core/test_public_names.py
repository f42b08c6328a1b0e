"""The public names of `import hub`."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import hub

SMALL = {"google", "typing_extensions", "uuid_utils"}
"""Distributions that `hub.Model` loads. Servers, drivers, event loops and the command line are not among them."""


def loaded_by(code: str) -> tuple[set[str], set[str]]:
    """Distributions, and parts of hub, that are loaded by code in an interpreter of its own."""
    program = (
        f"import sys; before = set(sys.modules); {code}; "
        "print(*sorted(name for name in set(sys.modules) - before if name.partition('.')[0] not in sys.stdlib_module_names and not name.startswith('_')))"
    )
    names = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    own = {name for name in names if name.partition(".")[0] == "hub"}
    return {name.partition(".")[0] for name in set(names) - own}, {".".join(name.split(".")[:2]) for name in own}


def test_import_hub_loads_nothing_else() -> None:
    assert loaded_by("import hub") == (set(), {"hub"})


def test_a_model_loads_no_servers_and_no_contract_machinery() -> None:
    assert loaded_by("import hub; hub.Model") == (
        SMALL,
        {"hub", "hub.errors", "hub.model", "hub.observability", "hub.safe_text", "hub.types"},
    )


def test_every_public_name_is_found_and_listed() -> None:
    exported = {
        node.asname for node in ast.walk(ast.parse(Path(hub.__file__).read_text())) if isinstance(node, ast.alias)
    }

    assert {name for name in exported if name} == set(hub._LAZY) <= set(dir(hub))
    assert all(getattr(hub, name) is not None for name in hub._LAZY)
    with pytest.raises(AttributeError, match="module 'hub' has no attribute 'Modell'"):
        _ = hub.Modell


def test_the_version_is_that_of_the_package() -> None:
    assert hub.__version__ == version("hub-serving")


def test_every_public_error_is_a_hub_error_with_a_code_of_its_own() -> None:
    values = [getattr(hub, name) for name in dir(hub)]
    errors = [value for value in values if isinstance(value, type) and issubclass(value, Exception)]

    assert all(issubclass(error, hub.HubError) for error in errors)
    assert len({error.code for error in errors if issubclass(error, hub.HubError)}) == len(errors)
