"""`hub schema` as a process of its own, with a registry."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hub.cli.app import main
from hub.contract import Contract
from hub.registry.client.client import RegistryClient
from hub.registry.client.login import LoginRequest
from hub.types import ModelName
from tests.cli.results import CommandResult
from tests.contract.test_limits import chain
from tests.registry.fakes import ping_server
from tests.registry.fixtures import ServedRegistry, served_registry
from tests.registry.helpers import BROKEN, DIGITS, GROWN, PLAIN, TIMEOUT

HUB = Path(sys.executable).with_name("hub")
ROOT = Path(__file__).parents[2]
GROWER = ModelName("Grower")
UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The backend of the registry. The commands are processes; every other one runs on trio."""
    return "asyncio"


async def hub_schema(*arguments: str, url: str, folder: Path, backend: str = "asyncio") -> CommandResult:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
    environment |= {"PYTHONPATH": f"{ROOT}:{folder}", "HUB_REGISTRY_URL": url, "COLUMNS": "200", "HUB_BACKEND": backend}
    with anyio.fail_after(TIMEOUT):
        done = await anyio.run_process([str(HUB), "schema", *arguments], check=False, env=environment, cwd=folder)
    return CommandResult(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


@asynccontextmanager
async def registry_with(*contracts: Contract, model: str = GROWER) -> AsyncGenerator[ServedRegistry]:
    """A registry that has accepted the contracts, one after the other; an instance of the last one is up."""
    async with served_registry() as registry:
        client: RegistryClient = registry.client
        for contract in contracts[:-1]:
            async with ping_server() as server:
                await client.login(
                    LoginRequest(instance=server.id, model=ModelName(model), url=server.url, contract=contract)
                )
                await client.logout(server.id)
        async with ping_server() as server:
            await client.login(
                LoginRequest(
                    instance=server.id,
                    model=ModelName(model),
                    url=server.url,
                    contract=contracts[-1],
                    comments=(("grow.v1.Ask.tone", "How it sounds."),),
                )
            )
            yield registry


async def test_contracts_are_listed_and_shown(tmp_path: Path) -> None:
    async with registry_with(PLAIN, GROWN) as registry:
        listed = await hub_schema("list", url=registry.url, folder=tmp_path)
        assert listed.code == 0, listed.err
        row = listed.out.splitlines()[1].split()
        assert row[:3] == ["Grower", GROWN.fingerprint[:12], "2"]
        assert row[-2:] == ["grow.v1.Ask", "grow.v1.Answer"]
        shown = await hub_schema("show", "Grower", url=registry.url, folder=tmp_path, backend="trio")
        assert shown.code == 0, shown.err
        assert f"contract    {GROWN.fingerprint}" in shown.out
        assert f"* {GROWN.fingerprint[:12]}" in shown.out
        assert f"  {PLAIN.fingerprint[:12]}" in shown.out
        assert "  // How it sounds.\n  string tone = 2;" in shown.out
        text = await hub_schema(
            "show", "Grower", "--fingerprint", PLAIN.fingerprint[:8], "--proto", url=registry.url, folder=tmp_path
        )
        assert text.out.splitlines()[:4] == ["// grow/v1/grow.proto", 'syntax = "proto3";', "", "package grow.v1;"]
        assert "tone" not in text.out
        document = await hub_schema("show", "Grower", "--json", url=registry.url, folder=tmp_path)
        assert document.json["fingerprint"] == GROWN.fingerprint
        assert document.json["descriptors"]["file"][0]["name"] == "grow/v1/grow.proto"


async def test_differences_are_named_with_their_rules(tmp_path: Path) -> None:
    async with registry_with(PLAIN, GROWN, BROKEN) as registry:
        broken = await hub_schema("diff", "Grower", url=registry.url, folder=tmp_path)
        assert broken.code == 1
        assert "breaks  grow.v1.Ask.text  FIELD_SAME_NAME" in broken.out
        assert "was called 'text' and is called 'words'" in broken.out
        growth = await hub_schema(
            "diff", "Grower", PLAIN.fingerprint, GROWN.fingerprint[:10], url=registry.url, folder=tmp_path
        )
        assert growth.code == 0
        assert "differs  grow.v1.Ask.tone" in growth.out
        assert "2 differences, none of them breaking" in growth.out
        document = await hub_schema(
            "diff", "Grower", PLAIN.fingerprint, BROKEN.fingerprint, "--json", url=registry.url, folder=tmp_path
        )
        assert (document.json["breaks"], document.json["from"]) == (True, PLAIN.fingerprint)
        local = await hub_schema(
            "diff", "Grower", "examples.digits:Digits", url=registry.url, folder=tmp_path, backend="trio"
        )
        assert local.code == 1
        assert "RPC_SAME_REQUEST_TYPE" in local.out


async def test_a_model_is_checked_before_it_is_deployed(tmp_path: Path) -> None:
    async with registry_with(DIGITS, model="Digits") as registry:
        same = await hub_schema("check", "examples.digits:Digits", url=registry.url, folder=tmp_path)
        assert (same.code, "could log in" in same.out) == (0, True), same.err
        new = await hub_schema(
            "check",
            "examples.model_a:ModelA",
            "--against",
            registry.url,
            url=UNREACHABLE,
            folder=tmp_path,
            backend="trio",
        )
        assert (new.code, "knows no model" in new.out) == (0, True), new.err
    async with registry_with(PLAIN, model="Digits") as registry:
        other = await hub_schema("check", "examples.digits:Digits", url=registry.url, folder=tmp_path)
        assert other.code == 1
        assert "breaks  request  RPC_SAME_REQUEST_TYPE" in other.out
        assert "could not log in" in other.out
        document = await hub_schema("check", "examples.digits:Digits", "--json", url=registry.url, folder=tmp_path)
        assert (document.code, document.json["could_log_in"], document.json["mode"]) == (1, False, "strict")


GROWER_MODEL = """\
import hub
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

files = descriptor_pb2.FileDescriptorSet.FromString({files!r})
pool = descriptor_pool.DescriptorPool()
for file in files.file:
    pool.Add(file)
Ask, Answer = (message_factory.GetMessageClass(pool.FindMessageTypeByName("grow.v1." + n)) for n in ("Ask", "Answer"))


class Grower(hub.Model[Ask, Answer]):
    def process_request(self, request):
        return Answer()
"""


async def test_the_check_of_an_extended_message_names_the_mode_that_accepts_it(tmp_path: Path) -> None:
    for name, contract in {"grown": GROWN, "broken": BROKEN}.items():
        (tmp_path / f"{name}.py").write_text(GROWER_MODEL.format(files=contract.files))
    async with registry_with(PLAIN) as registry:
        grown = await hub_schema("check", "grown:Grower", url=registry.url, folder=tmp_path)
        broken = await hub_schema("check", "broken:Grower", url=registry.url, folder=tmp_path, backend="trio")
    assert grown.code == 1, grown.err
    assert "could not log in" in grown.out
    assert "HUB_CONTRACT_MODE=compatible" in grown.out
    assert broken.code == 1, broken.err
    assert "HUB_CONTRACT_MODE" not in broken.out


CHAIN_MODEL = """\
import hub
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto.FromString({file!r})
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
M0 = message_factory.GetMessageClass(pool.FindMessageTypeByName("a.M0"))


class Chain(hub.Model[M0, M0]):
    def process_request(self, request):
        return M0()
"""


async def test_a_model_without_a_valid_contract_is_refused_with_the_field(tmp_path: Path) -> None:
    (tmp_path / "chain.py").write_text(CHAIN_MODEL.format(file=chain(150).SerializeToString()))
    async with registry_with(PLAIN) as registry:
        result = [
            await hub_schema("check", "chain:Chain", url=registry.url, folder=tmp_path),
            await hub_schema("diff", "Grower", "chain:Chain", url=registry.url, folder=tmp_path, backend="trio"),
        ]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HUB_")}
        environment |= {"PYTHONPATH": f"{ROOT}:{tmp_path}", "HUB_REGISTRY_PORT": "0", "HUB_GATEWAY_PORT": "0"}
        with anyio.fail_after(TIMEOUT):
            done = await anyio.run_process([str(HUB), "up", "chain:Chain"], check=False, env=environment, cwd=tmp_path)
        result.append(CommandResult(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode()))
        listed = await registry.active()
    for each in result:
        assert each.code == 2, each
        assert "field a.M99.next is in a chain of more than 100 messages" in each.out + each.err
        assert "Traceback" not in each.out + each.err
    assert listed == [GROWER]


async def test_unknown_models_and_contracts_are_reported_with_the_known_ones(tmp_path: Path) -> None:
    async with registry_with(PLAIN) as registry:
        model = await hub_schema("show", "Missing", url=registry.url, folder=tmp_path)
        contract = await hub_schema(
            "show", "Grower", "--fingerprint", "00000000", url=registry.url, folder=tmp_path, backend="trio"
        )
    assert (model.code, model.out, "`hub schema list`" in model.err) == (2, "", True)
    assert (contract.code, contract.out, PLAIN.fingerprint[:12] in contract.err) == (2, "", True)


@pytest.mark.parametrize(
    ("arguments", "repair"),
    [
        pytest.param(("show", "Grower", "--json", "--proto"), "choose one", id="two forms"),
        pytest.param(("show", "no name"), "start with a letter", id="no name"),
        pytest.param(("check", "no_colon"), "pkg.module:Class", id="no class"),
    ],
)
def test_an_invalid_argument_is_refused_with_the_repair(
    arguments: tuple[str, ...], repair: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["schema", *arguments])
    assert ended.value.code == 2
    assert repair in capsys.readouterr().err


async def test_the_error_names_a_registry_that_is_out_of_reach(tmp_path: Path) -> None:
    result = await hub_schema("list", url=UNREACHABLE, folder=tmp_path)
    assert result.code == 3
    assert UNREACHABLE in result.err
    assert f"HUB_REGISTRY_URL={UNREACHABLE}" in result.err
    assert "check that it runs" in result.err
