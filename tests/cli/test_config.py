from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from hub.cli.app import main
from hub.cli.config import (
    COMPONENTS,
    check_names,
    describe,
    exposed_secrets,
    models_of_layers,
    read_config,
    secret_files,
    sources_of_settings,
    unused_variables,
)
from hub.errors import ConfigurationError
from hub.settings.connections import require_shared
from hub.settings.gateway import GatewaySettings
from hub.settings.registry import RegistrySettings
from hub.settings.tools import DoctorSettings
from hub.settings.up import UpSettings


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_misspelt_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_PING_PERIDO", "3")
    with pytest.raises(ConfigurationError, match=r"HUB_PING_PERIDO.*did you mean HUB_PING_PERIOD\?"):
        check_names()


def test_a_misspelt_key_is_refused_with_the_nearest_name(in_an_empty_folder: Path) -> None:
    (in_an_empty_folder / "hub.toml").write_text("borker_url = 'memory://'\n")
    with pytest.raises(ConfigurationError, match=r"borker_url.*broker_url"):
        check_names()


def test_a_table_is_refused_with_a_setting_that_it_may_stand_for(in_an_empty_folder: Path) -> None:
    (in_an_empty_folder / "hub.toml").write_text("[gateway]\nport = 1\n")
    with pytest.raises(ConfigurationError, match=r"table \[gateway\].*gateway_host = "):
        check_names()


def test_every_setting_of_every_command_is_known() -> None:
    known = {each.name for each in fields(DoctorSettings)}
    assert [
        name for kind in COMPONENTS.values() for name in (each.name for each in fields(kind)) if name not in known
    ] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["gateway", "--ping-misses", "3"],
            ["`hub gateway` has no option --ping-misses", "`hub registry`", "HUB_PING_MISSES"],
        ),
        (["up", "--frobnicate"], ["Unknown option: --frobnicate", "`hub up --help`"]),
        (["gateway", "a:B"], ["`hub gateway` does not take 'a:B'"]),
        (["up", "--ping-period", "3s"], ['"3s"', "write a number", "times are in seconds"]),
        (["up", "--gateway-port", "http"], ["write a whole number"]),
        (["top", "--period", "0"], ["--period is from 0.1 s"]),
        (["doctor", "gatway"], ['"gatway"', 'Did you mean "gateway"?']),
        (["top", "--gateway-url", "localhost:8000"], ["gateway_url", "write http://localhost:8000"]),
        (["doctor", "--management-url", "amqp://h"], ["management_url", "http://"]),
        (["top", "--api-key", "a\u20ac"], ["api_key has the character"]),
    ],
)
def test_a_wrong_argument_is_refused_with_the_repair(
    arguments: list[str], says: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hub", *arguments])
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    for text in says:
        assert text in shown
    assert len(shown.strip().splitlines()) <= 5


def test_completion_completes_commands_options_and_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "hub.bash"
    with pytest.raises(SystemExit) as ended:
        main(["--install-completion", "--shell", "bash", "--output", str(script)])
    written = capsys.readouterr()
    assert (ended.value.code or 0, f"completion is in {script}" in written.out) == (0, True), written.err
    lines = {
        "hub doc": "doctor",
        "hub dead ": "list show replay drop",
        "hub doctor --man": "--management-url",
        "hub up --backend ": "asyncio trio",
    }
    attempts = "\n".join(
        f"try {' '.join(words.split(' '))[:-1]} ''" if words.endswith(" ") else f"try {words}" for words in lines
    )
    commands = f'source {script}\ntry() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=(); _hub; echo "${{COMPREPLY[*]}}"; }}\n{attempts}'
    done = subprocess.run(["/bin/bash", "-c", commands], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == list(lines.values()), done.stderr
    with pytest.raises(SystemExit) as ended:
        main(["--install-completion", "--shell", "bash", "--output", "/proc/none/hub"])
    assert (ended.value.code, "--output FILE" in capsys.readouterr().err) == (2, True)


def test_a_file_that_is_not_toml_is_refused(in_an_empty_folder: Path) -> None:
    (in_an_empty_folder / "hub.toml").write_text("ping_period: 3\n")
    with pytest.raises(ConfigurationError, match="not TOML"):
        check_names()


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        pytest.param(lambda _path: None, "no such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is a folder", id="folder"),
        pytest.param(lambda path: path.symlink_to(path), "cannot be read", id="unreadable"),
        pytest.param(lambda path: path.write_bytes(b"token = '\xe4'"), r"not UTF-8 \(byte 9\)", id="latin-1"),
        pytest.param(lambda path: path.write_text("ping_period: 3"), "not TOML", id="YAML"),
    ],
)
def test_a_named_file_that_cannot_be_used_is_refused(
    make: Callable[[Path], object], cause: str, in_an_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_an_empty_folder / "my.toml"
    make(path)
    monkeypatch.setenv("HUB_CONFIG", str(path))
    with pytest.raises(ConfigurationError, match=rf"my\.toml.*{cause}"):
        check_names()


def test_a_missing_file_is_an_empty_configuration() -> None:
    assert read_config() == {}


@pytest.mark.parametrize(
    ("toml", "variable", "models"),
    [
        ('models = ["a:B", "c.d:E"]', None, ["a:B", "c.d:E"]),
        ('models = "a:B c.d:E"', None, ["a:B", "c.d:E"]),
        ('models = ["a:B"]', "x:Y, z:W", ["x:Y", "z:W"]),
        ("", "x:Y", ["x:Y"]),
        ("", None, []),
    ],
)
def test_models_may_be_in_the_file_and_in_the_environment(
    toml: str, variable: str | None, models: list[str], in_an_empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_an_empty_folder / "hub.toml").write_text(toml)
    if variable is not None:
        monkeypatch.setenv("HUB_MODELS", variable)
    check_names()
    assert models_of_layers() == models


def test_models_that_are_not_texts_are_refused(in_an_empty_folder: Path) -> None:
    (in_an_empty_folder / "hub.toml").write_text("models = [1]")
    with pytest.raises(ConfigurationError, match=r'models = \["pkg'):
        models_of_layers()


def test_variables_of_other_components_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUB_PING_MISSES", "HUB_GATEWAY_PORT", "HUB_TOKEN", "HUB_TEST_AMQP_URL", "HUB_MODELS"):
        monkeypatch.setenv(name, "1")
    assert unused_variables(GatewaySettings) == ["HUB_MODELS", "HUB_PING_MISSES"]
    assert unused_variables(RegistrySettings) == ["HUB_GATEWAY_PORT", "HUB_MODELS"]
    assert unused_variables(UpSettings) == []


def test_each_setting_is_shown_with_its_source(in_an_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_an_empty_folder / "hub.toml").write_text("ping_period = 5\nping_misses = 2\n")
    monkeypatch.setenv("HUB_PING_MISSES", "4")
    monkeypatch.setenv("HUB_TOKEN", "s3cret")
    settings = UpSettings(ping_period=5, ping_misses=4, registry_port=9, token="s3cret")
    lines = {line.name: line for line in describe(UpSettings, settings, ["config", "show", "--registry-port=9"])}
    assert (lines["ping_period"].value, lines["ping_period"].source) == ("5", "hub.toml")
    assert (lines["ping_misses"].value, lines["ping_misses"].source) == ("4", "environment HUB_PING_MISSES")
    assert (lines["registry_port"].value, lines["registry_port"].source) == ("9", "command line")
    assert lines["backend"].source == "default"
    assert "s3cret" not in lines["token"].value


def test_defaults_are_those_of_the_component() -> None:
    lines = {line.name: line for line in describe(GatewaySettings, UpSettings(), ["config", "show", "gateway"])}
    assert lines["broker_url"].value == "amqp://guest:***@127.0.0.1:5672/"
    assert "registry_port" not in lines


def test_an_address_beyond_loopback_needs_a_credential() -> None:
    with pytest.raises(ConfigurationError, match="HUB_TOKEN"):
        _ = RegistrySettings(registry_host="0.0.0.0").registry_bind
    with pytest.raises(ConfigurationError, match="HUB_API_KEYS"):
        _ = GatewaySettings(gateway_host="0.0.0.0", token="only for instances").gateway_bind
    assert RegistrySettings(registry_host="0.0.0.0", token="t").registry_bind.host == "0.0.0.0"
    assert GatewaySettings(gateway_host="::1").gateway_bind.loopback


def test_a_ping_timeout_must_fit_into_the_period() -> None:
    with pytest.raises(ConfigurationError, match="ping_timeout"):
        RegistrySettings(ping_period=2, ping_timeout=3)


def test_without_a_token_only_loopback_instances_are_pinged() -> None:
    assert [str(network) for network in RegistrySettings().networks] == ["127.0.0.0/8", "::1/128"]
    assert RegistrySettings(token="t").networks[0].prefixlen == 0
    with pytest.raises(ConfigurationError, match=r"10\.0\.0\.0/8"):
        RegistrySettings(instance_networks="10.0.0.1/8x")


def test_memory_is_refused_where_processes_must_share() -> None:
    with pytest.raises(ConfigurationError, match="hub up"):
        require_shared(GatewaySettings(broker_url="memory://"))
    with pytest.raises(ConfigurationError, match="HUB_STORE_URL"):
        require_shared(GatewaySettings(store_url="memory://"))


SECRETS = (
    "token",
    "api_keys",
    "api_key",
    "broker_url",
    "store_url",
    "directory_url",
    "registry_url",
    "gateway_url",
    "management_url",
)
VALUES = {name: f"memory://{name}" if name.endswith("_url") else "s3cret" for name in SECRETS}


def test_every_secret_setting_is_known_here() -> None:
    assert {each.name for each in fields(DoctorSettings) if each.metadata.get("secret")} == set(SECRETS)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_stand_in_a_file(name: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_bytes(f"{VALUES[name]}{end}".encode())
    monkeypatch.setenv(f"HUB_{name.upper()}_FILE", str(tmp_path / "secret"))
    check_names()
    assert secret_files() == {name: VALUES[name]}
    assert sources_of_settings([])[name] == f"environment HUB_{name.upper()}_FILE"
    assert unused_variables(DoctorSettings) == []


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    ("make", "cause"),
    [
        pytest.param(lambda _path: None, "no such file", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is a folder", id="folder"),
        pytest.param(lambda path: path.symlink_to(path), "cannot be read", id="unreadable"),
        pytest.param(lambda path: path.write_bytes(b"\xe4"), "not UTF-8", id="latin-1"),
        pytest.param(lambda path: path.write_bytes(b""), "is empty", id="empty"),
        pytest.param(lambda path: path.write_bytes(b" \n"), "is empty", id="blank"),
        pytest.param(lambda path: path.write_bytes(b"x" * 100_000), "more than", id="large"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_named(
    name: str, make: Callable[[Path], object], cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "secret")
    monkeypatch.setenv(f"HUB_{name.upper()}_FILE", str(tmp_path / "secret"))
    with pytest.raises(ConfigurationError, match=rf"HUB_{name.upper()}_FILE is '.*secret'.*{cause}"):
        secret_files()


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_and_its_file_are_not_both_given(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")
    monkeypatch.setenv(f"HUB_{name.upper()}_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv(f"HUB_{name.upper()}", VALUES[name])
    with pytest.raises(ConfigurationError, match=rf"HUB_{name.upper()} and HUB_{name.upper()}_FILE are both set"):
        secret_files()


def test_only_secrets_have_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_PING_PERIOD_FILE", "x")
    with pytest.raises(ConfigurationError, match="HUB_PING_PERIOD_FILE"):
        check_names()


@pytest.mark.parametrize(
    ("toml", "mode", "exposed"),
    [
        ("token = 'x'", 0o644, ["token"]),
        ("token = 'x'", 0o604, ["token"]),
        ("token = 'x'", 0o640, []),
        ("token = 'x'", 0o600, []),
        ("token = ''", 0o644, []),
        ("broker_url = 'amqp://ann:pw@h/'\nregistry_url = 'http://h'\nping_period = 3", 0o644, ["broker_url"]),
    ],
)
def test_secrets_in_a_readable_file_are_named(
    toml: str, mode: int, exposed: list[str], in_an_empty_folder: Path
) -> None:
    path = in_an_empty_folder / "hub.toml"
    path.write_text(toml)
    path.chmod(mode)
    assert exposed_secrets() == exposed


@pytest.mark.parametrize("token", ["gehe\xefm", "\u20ac", "a\nb", "a\x00", "a\x7f", " a", "a "])
@pytest.mark.parametrize("component", [UpSettings, RegistrySettings, GatewaySettings])
def test_a_token_that_no_header_carries_is_refused(token: str, component: type[UpSettings]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"token (has the character|begins or ends).*(openssl|write it without)"
    ):
        component(token=token)
    if component is not RegistrySettings and token.strip() == token:
        with pytest.raises(ConfigurationError, match="api_keys has the character"):
            component(api_keys=f"good,{token}")


def hub(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return subprocess.run(
        [sys.executable, "-m", "hub", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command_line_warns_of_both(in_an_empty_folder: Path) -> None:
    refused = hub("gateway", HUB_TOKEN="gehe\xefm")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    path = in_an_empty_folder / "hub.toml"
    path.write_text("token = 'abcdefgh'")
    path.chmod(0o644)
    shown = hub("config", "show", "--json")
    assert "readable for every user of this machine" in shown.stderr.replace("\n", " ")
    assert "abcdefgh" not in shown.stdout + shown.stderr
    path.unlink()
    (in_an_empty_folder / "t").write_text("abcdefgh\n")
    named = hub("config", "show", "--json", HUB_TOKEN_FILE="t")
    assert (named.returncode, "abcdefgh" in named.stdout) == (0, False)
    found = {line["setting"]: line for line in json.loads(named.stdout)["settings"]}
    assert (found["token"]["value"], found["token"]["from"]) == ("***", "environment HUB_TOKEN_FILE")
    missing = hub("gateway", HUB_TOKEN_FILE="none")
    assert (missing.returncode, "HUB_TOKEN_FILE" in missing.stderr, "Traceback" in missing.stderr) == (2, True, False)
