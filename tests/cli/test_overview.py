"""`hub --help`, and what a command line loads: no code of other commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cyclopts import App

from hub.cli.app import app, main
from hub.cli.overview import COMMANDS, EXIT_CODES, GROUPS, root_help

SERVERS = {"litestar", "prometheus_client", "hiredis", "redis", "aiormq", "pamqp", "trio", "uvloop"}
"""Packages that only servers, instances and drivers need."""

PARTS = {"hub.amqp", "hub.brokers", "hub.contract", "hub.gateway", "hub.model", "hub.registry", "hub.stores"}
"""Parts of hub that only they need."""


def loaded_by(*commands: Sequence[str], folder: Path) -> set[str]:
    """The modules of a process that has carried out these command lines of `hub`, one after another."""
    program = (
        "import sys\n"
        "import hub_serving\n"
        f"for sys.argv[1:] in {[list(command) for command in commands]}:\n"
        "    try:\n"
        "        hub_serving.main()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, sys.argv\n"
        "sys.stderr.write(' '.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return set(done.stderr.split())


def among(modules: set[str], names: set[str]) -> set[str]:
    """Those of `names` that are loaded."""
    return {name for name in names if name in modules or any(each.startswith(f"{name}.") for each in modules)}


def test_the_overview_loads_no_command_and_no_library_for_output(tmp_path: Path) -> None:
    modules = loaded_by((), ("--help",), ("-h",), ("--version",), folder=tmp_path)

    assert (
        among(modules, SERVERS | PARTS | {"google", "rich", "structlog", "msgspec", "anyio", "hub.settings"}) == set()
    )
    assert {name for name in modules if name.startswith("hub.cli.")} == {"hub.cli.app", "hub.cli.overview"}


def test_completion_is_written_without_the_code_of_servers(tmp_path: Path) -> None:
    script = tmp_path / "hub.bash"
    modules = loaded_by(("--install-completion", "--shell", "bash", "--output", str(script)), folder=tmp_path)

    assert among(modules, SERVERS | PARTS | {"google"}) == set()
    assert "--ping-period" in script.read_text()


def test_commands_are_described_without_the_code_of_servers(tmp_path: Path) -> None:
    modules = loaded_by(
        ("up", "--help"),
        ("model", "--help"),
        ("dead", "list", "--help"),
        ("config", "show"),
        ("call", "--help"),
        folder=tmp_path,
    )

    assert among(modules, SERVERS | PARTS | {"google"}) == set()


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        (
            "hub.model.instance.instance",
            {"hub.gateway", "hub.registry.core", "hub.registry.http", "hub.web"},
        ),
        ("hub.registry.service", {"hub.gateway", "hub.model"}),
        ("hub.gateway.service", {"hub.model", "hub.registry.core", "hub.registry.http"}),
    ],
)
def test_a_component_loads_nothing_of_the_others(module: str, unused: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert among(set(done.stdout.split()), unused) == set()


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_overview_has_the_first_line_of_each_command(entry: object) -> None:
    assert entry in COMMANDS
    name, summary = next((each.name, each.summary) for each in COMMANDS if each is entry)
    command = app[name]

    assert isinstance(command, App)
    assert " ".join(command.help.split()).startswith(summary.rstrip("."))
    assert summary.endswith(".")


def test_the_overview_fits_the_terminal_and_is_bold_only_there(capsys: pytest.CaptureFixture[str]) -> None:
    for columns in (60, 80, 100):
        text = root_help(columns, bold=False)
        assert max(map(len, text.splitlines())) <= columns
        assert "\x1b" not in text
        assert all(f"\n  {entry.name} " in text or f"\n  {entry.name}\n" in text for entry in COMMANDS)
    assert max(map(len, root_help(400, bold=False).splitlines())) <= 120
    assert all(f"\x1b[1m{title}\x1b[0m" in root_help(80, bold=True) for title in GROUPS)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert EXIT_CODES in shown
    assert "--version Show the version." in shown
