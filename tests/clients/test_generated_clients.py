"""What four code generators make of the live description compiles untouched, has plain types, and calls the gateway."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx2
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import HealthCheck, given, seed, settings
from jsonschema_rs import Draft202012Validator

from hub.contract import Contract
from hub.gateway.models.catalog import Catalog, ServedModel
from hub.gateway.models.codec import Codec
from hub.gateway.openapi.document import OpenApiDocument
from hub.gateway.tasks.options import ResultTtls
from hub.registry.client.snapshot import KnownModel
from hub.types import InstanceState, ModelName
from tests.clients.conftest import CACHE, HERE, Clients, documented, operations, run
from tests.contract.random_descriptors import descriptors

pytestmark = pytest.mark.timeout(300)  # the first test waits for generators and compilers

ECHOED = [
    "NaN", 8, "9007199254740993", "COLOR_RED", ["COLOR_BELOW", "COLOR_RED", 7], 0, 1, "EUR", "leaf", True, 15,
    "upper", "lower", [1, "two", None], {"a": [1, None, {"b": "c"}]}, "2026-01-31T12:00:00Z",
]  # fmt: skip
IMPORTING = (
    "import hub_client, importlib, pkgutil\n"
    "for module in pkgutil.walk_packages(hub_client.__path__, 'hub_client.'):\n"
    "    importlib.import_module(module.name)\n"
)
TSC_OPTIONS = ("--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler")
CALLED = ["wrappedinner", "b", "7", 1, "succeeded", 2, "invalid_document", ["0a", "1a"]]


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
    output = clients["six"].run("node", bundled / "six" / f"{calls}.mjs")
    assert [json.loads(line) for line in output.splitlines()] == [ECHOED, CALLED]


@pytest.mark.parametrize("calls", ["hey", "fetch", "orval-calls"])
def test_the_documented_typescript_works(clients: Mapping[str, Clients], bundled: Path, calls: str) -> None:
    output = clients["examples"].run("node", bundled / "examples" / f"{calls}.mjs")
    assert output.strip() == "Processed message: hello"


def test_the_python_package_imports_and_has_types(generated: Clients) -> None:
    generated.run(CACHE / "venv" / "bin" / "python", "-W", "error", "-c", IMPORTING)
    options = ("--config-file", HERE / "mypy.ini", "--python-executable", CACHE / "venv" / "bin" / "python")
    generated.run(sys.executable, "-m", "mypy", *options, "client.py", "hub_client")


def test_the_python_client_calls_the_models(clients: Mapping[str, Clients]) -> None:
    output = clients["six"].run(CACHE / "venv" / "bin" / "python", "client.py")
    shown, called = (json.loads(line) for line in output.splitlines())
    assert shown == ["NaN", 7, "9007199254740993", 7, [], "forclassdefaultlowerupper", [1, "two", None]]
    assert called == [*CALLED, "9007199254740993"]


def test_the_documented_python_works(clients: Mapping[str, Clients]) -> None:
    output = clients["examples"].run(CACHE / "venv" / "bin" / "python", "client.py")
    assert output.strip() == "Processed message: hello"


@pytest.mark.parametrize("path", ["/v1/models/Echo", "/v1/models/Wrap", "/v1/models/my-model.v2", "/v1/models/for"])
def test_replies_have_the_schema_that_is_described(clients: Mapping[str, Clients], path: str) -> None:
    six = clients["six"]
    document = json.loads((six.folder / "openapi.json").read_text())
    operation = document["paths"][path]["post"]
    content = operation["responses"]["200"]["content"]["application/json"]
    schema = Draft202012Validator({**content["schema"], "components": document["components"]}, validate_formats=True)
    empty: dict[str, object] = {}
    for request in (empty, operation["requestBody"]["content"]["application/json"]["example"]):
        schema.validate(httpx2.post(f"{six.gateway}{path}", json=request).raise_for_status().json())


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


def test_random_contracts_go_through_the_generators_and_the_linter(workspace: Path) -> None:
    folder = workspace / "random"
    folder.mkdir()
    (folder / "openapi.json").write_bytes(description_of_random_contracts())
    script = "set -euo pipefail\n" + "\n".join(block for block in documented("sh") if "curl" not in block)
    done = run(("bash", "-c", script), folder)
    assert done.returncode == 0, done.stdout
    assert "not be generated" not in done.stdout
    done = run((CACHE / "venv" / "bin" / "python", "-W", "error", "-c", IMPORTING), folder)
    assert done.returncode == 0, done.stdout
    done = run(("tsc", *TSC_OPTIONS, "hub/index.ts", "schema.d.ts", "orval.ts"), folder)
    assert done.returncode == 0, done.stdout
    done = run(("redocly", "lint", "--config", HERE / "redocly.yaml", "openapi.json"), folder)
    assert done.returncode == 0, done.stdout


def description_of_random_contracts() -> bytes:
    """Of models whose messages have the same names and other fields, named to be mistaken for something else."""
    models: list[ServedModel] = []

    @seed(1)
    @settings(max_examples=12, database=None, deadline=None, suppress_health_check=[*HealthCheck])
    @given(descriptors())
    def add(descriptor: Descriptor) -> None:
        contract = Contract.from_descriptors(descriptor, descriptor)
        known = KnownModel(name=ModelName(f"m.{len(models)}"), contract=contract, instances={InstanceState.LIVE: 1})
        models.append(ServedModel(known=known, codec=Codec(contract)))

    add()
    catalog = cast("Catalog", SimpleNamespace(served=models))  # the only thing that a description asks it for
    return OpenApiDocument(catalog, guarded=True, ttls=ResultTtls()).current()[1]
