"""What four code generators make of the live description compiles untouched, has plain types, and calls the gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from jsonschema_rs import Draft202012Validator

from tests.clients.conftest import CACHE, HERE, Clients, operations, run

ECHOED = [
    "NaN", 8, "9007199254740993", "COLOR_RED", ["COLOR_BELOW", "COLOR_RED", 7], 0, 1, "EUR", "leaf", True, 15,
    "upper", "lower", [1, "two", None], {"a": [1, None, {"b": "c"}]}, "2026-01-31T12:00:00Z",
]  # fmt: skip
CALLED = ["wrappedinner", "b", "7", 1, "succeeded", 2, "invalid_document"]


def test_the_generators_warn_of_nothing(generated: Clients) -> None:
    for word in ("warn", "not be generated", "error", "skipp", "unsupported"):
        assert word not in generated.output.lower(), generated.output


def test_no_operation_is_lost(generated: Clients) -> None:
    hey = (generated.folder / "hub" / "sdk.gen.ts").read_text()
    orval = (generated.folder / "orval.ts").read_text()
    fetch = (generated.folder / "schema.d.ts").read_text()
    python = {path.stem.replace("_", "") for path in (generated.folder / "hub_client" / "api").glob("*/*.py")}
    for name, (path, _) in operations(generated.gateway).items():
        assert f"export const {name} = " in hey
        assert f"export const {name} = " in orval
        assert f'"{path}": {{' in fetch
        assert f"    {name}: {{" in fetch
        assert name.lower() in python


@pytest.mark.usefixtures("clients")
def test_the_typescript_compiles_strictly_as_it_was_generated(workspace: Path) -> None:
    done = run(("tsc", "--project", "."), workspace)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("calls", ["hey", "fetch", "orval-calls"])
def test_a_typescript_client_calls_the_models(clients: Mapping[str, Clients], bundled: Path, calls: str) -> None:
    output = clients["five"].run("node", bundled / "five" / f"{calls}.mjs")
    assert [json.loads(line) for line in output.splitlines()] == [ECHOED, CALLED]


@pytest.mark.parametrize("calls", ["hey", "fetch", "orval-calls"])
def test_the_documented_typescript_works(clients: Mapping[str, Clients], bundled: Path, calls: str) -> None:
    output = clients["examples"].run("node", bundled / "examples" / f"{calls}.mjs")
    assert output.strip() == "Processed message: hello"


def test_the_python_package_imports_and_has_types(generated: Clients) -> None:
    importing = (
        "import hub_client, importlib, pkgutil\n"
        "for module in pkgutil.walk_packages(hub_client.__path__, 'hub_client.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    generated.run(CACHE / "venv" / "bin" / "python", "-W", "error", "-c", importing)
    options = ("--config-file", HERE / "mypy.ini", "--python-executable", CACHE / "venv" / "bin" / "python")
    generated.run(sys.executable, "-m", "mypy", *options, "client.py", "hub_client")


def test_the_python_client_calls_the_models(clients: Mapping[str, Clients]) -> None:
    output = clients["five"].run(CACHE / "venv" / "bin" / "python", "client.py")
    shown, called = (json.loads(line) for line in output.splitlines())
    assert shown == ["NaN", 7, "9007199254740993", 7, [], "forclassdefaultlowerupper", [1, "two", None]]
    assert called == [*CALLED, "9007199254740993"]


def test_the_documented_python_works(clients: Mapping[str, Clients]) -> None:
    output = clients["examples"].run(CACHE / "venv" / "bin" / "python", "client.py")
    assert output.strip() == "Processed message: hello"


@pytest.mark.parametrize("path", ["/v1/models/Echo", "/v1/models/Wrap", "/v1/models/my-model.v2", "/v1/models/for"])
def test_replies_have_the_schema_that_is_described(clients: Mapping[str, Clients], path: str) -> None:
    five = clients["five"]
    document = json.loads((five.folder / "openapi.json").read_text())
    operation = document["paths"][path]["post"]
    content = operation["responses"]["200"]["content"]["application/json"]
    schema = Draft202012Validator({**content["schema"], "components": document["components"]}, validate_formats=True)
    for request in ({}, operation["requestBody"]["content"]["application/json"]["example"]):
        schema.validate(httpx2.post(f"{five.gateway}{path}", json=request).raise_for_status().json())


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("openapi-spec-validator", "openapi.json"), id="openapi-spec-validator"),
        pytest.param(("validate-api", "openapi.json"), id="openapi-schema-validator"),
        pytest.param(("redocly", "lint", "--config", HERE / "redocly.yaml", "openapi.json"), id="redocly"),
    ],
)
def test_validators_and_the_linter_find_nothing(generated: Clients, command: tuple[str | Path, ...]) -> None:
    output = generated.run(*command)
    assert "warning" not in output.lower(), output


def test_the_linter_finds_what_is_missing(clients: Mapping[str, Clients], tmp_path: Path) -> None:
    document = json.loads((clients["examples"].folder / "openapi.json").read_text())
    for member in ("summary", "operationId"):
        changed = json.loads(json.dumps(document))
        del changed["paths"]["/v1/tasks/{task_id}"]["get"][member]
        (tmp_path / "openapi.json").write_text(json.dumps(changed))
        assert run(("redocly", "lint", "--config", HERE / "redocly.yaml", "openapi.json"), tmp_path).returncode == 1
