"""Clients that generators have written from the live description of a running gateway, in folders of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.browser.conftest import EXAMPLES, running_hub
from tests.support.server import free_port

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "clients"
DOCUMENTED = "http://127.0.0.1:8000"
"""The address in docs/api.md."""

SIX = tuple(f"tests.clients.models:{name}" for name in ("Echo", "EchoInLowerCase", "Wrap", "Grow", "For", "Count"))
MODELS = {"examples": EXAMPLES, "six": SIX}


@dataclass(frozen=True, slots=True)
class Clients:
    """What was generated for one set of models.

    Attributes:
        folder: Has `openapi.json`, the clients, and what calls them.
        gateway: Address of the gateway that runs.
        output: What the generators have said.
    """

    folder: Path
    gateway: str
    output: str

    def run(self, *command: str | Path) -> str:
        """Runs a command in the folder; its output. `HUB` is the address of the gateway."""
        done = run(command, self.folder, HUB=self.gateway)
        assert done.returncode == 0, done.stdout
        return done.stdout


def run(command: tuple[str | Path, ...], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with the generators' programs in front of all others; both of its streams in one."""
    path = f"{CACHE / 'bin'}:{CACHE / 'venv' / 'bin'}:{CACHE / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    quiet = {"NO_COLOR": "1", "npm_config_loglevel": "error", "npm_config_offline": "true"}
    redocly = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | quiet | redocly | {"PATH": path} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )


def documented(language: str) -> list[str]:
    """The blocks of a language below "Generated clients" in docs/api.md."""
    section = re.search(
        r"^## Generated clients$(.*?)^## ", (ROOT / "docs" / "api.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert section is not None
    return re.findall(rf"^```{language}\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which npm packages are found; the folders of clients are in it."""
    subprocess.run([ROOT / "scripts" / "install-clients.sh"], check=True)
    folder = tmp_path_factory.mktemp("clients")
    (folder / "node_modules").symlink_to(CACHE / "node_modules")
    shutil.copy(HERE / "tsconfig.json", folder)
    return folder


@pytest.fixture(scope="session")
def clients(workspace: Path) -> Iterator[Mapping[str, Clients]]:
    """For each set of models a gateway that runs, and all four clients of it, made with the documented commands."""
    with ExitStack() as stack:
        found: dict[str, Clients] = {}
        for name, models in MODELS.items():
            gateway = stack.enter_context(running_hub(models, free_port())).gateway
            folder = workspace / name
            folder.mkdir()
            script = f"set -euo pipefail\nhub={gateway}\n" + "\n".join(documented("sh")).replace(DOCUMENTED, gateway)
            done = run(("bash", "-c", script), folder)
            assert done.returncode == 0, done.stdout
            found[name] = Clients(folder, gateway, done.stdout)
        shutil.copytree(HERE / "calls", found["six"].folder, dirs_exist_ok=True)
        for calls, names in (("ts", ("hey", "fetch", "orval-calls")), ("python", ("client",))):
            for name, text in zip(names, documented(calls), strict=True):
                file = found["examples"].folder / f"{name}.{'py' if calls == 'python' else 'ts'}"
                file.write_text(text.replace(DOCUMENTED, found["examples"].gateway))
        yield found


@pytest.fixture(scope="session")
def bundled(workspace: Path, clients: Mapping[str, Clients]) -> Path:
    """The folder of what calls the TypeScript clients, as JavaScript."""
    sources = [file.relative_to(workspace) for each in clients.values() for file in each.folder.glob("*.ts")]
    entries = [file for file in sources if file.stem in {"hey", "fetch", "orval-calls"}]
    done = run(
        (
            "esbuild",
            "--bundle",
            "--platform=node",
            "--format=esm",
            "--out-extension:.js=.mjs",
            "--outdir=out",
            *entries,
        ),
        workspace,
    )
    assert done.returncode == 0, done.stdout
    return workspace / "out"


@pytest.fixture(params=MODELS)
def generated(request: pytest.FixtureRequest, clients: Mapping[str, Clients]) -> Clients:
    found: Clients = clients[request.param]
    return found


def operations(gateway: str) -> dict[str, tuple[str, str]]:
    """Path and method of each operation of the live description, by its id."""
    paths = httpx2.get(f"{gateway}/openapi.json").json()["paths"]
    return {item[method]["operationId"]: (path, method) for path, item in paths.items() for method in item}
