"""Common mistakes: each ends the start at once, with the documented exit code and a few lines that name the repair.

`docs/starting.md` has the same table. `start_timeout` is left at 60 seconds, so a mistake that is retried instead of
refused exceeds the time limit of the process.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import trustme

from tests.support.server import ServerProcess, answers, free_port
from tests.system.forked import Commands, commands
from tests.system.processes import ROOT, hub_process

TIME_LIMIT: Final = 50.0
"""Seconds for a process: below `start_timeout`, far above the usual time on a busy machine."""

ECHO: Final = "tests.system.models:Echo"
DRIVERS: Final = ("amqp", "amqp+aiormq")
CLIENTS: Final = ("redis", "redis+redispy")
_INFO: Final = re.compile(r"^\S+Z \[(info|warning) ")

MODULES: Final = {
    "broken.py": "import json\n\ndef f(:\n    pass\n",
    "raising.py": "SETTINGS = {}\nTHRESHOLD = SETTINGS['threshold']\n",
    "leaving.py": "import sys\nsys.exit('no GPU')\n",
    "needing.py": "import pandaz\n",
    "older.py": (
        "from google.protobuf import runtime_version\n"
        "runtime_version.ValidateProtobufRuntimeVersion(runtime_version.Domain.PUBLIC, 99, 1, 0, '', 'cat.proto')\n"
    ),
    "one.py": (
        "from google.protobuf import descriptor_pb2, descriptor_pool\n"
        "for package in ('a', 'b'):\n"
        "    file = descriptor_pb2.FileDescriptorProto(name='model.proto', package=package, syntax='proto3')\n"
        "    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())\n"
    ),
    "models.py": """
from google.protobuf.wrappers_pb2 import StringValue
from hub import Model

class Base(Model[StringValue, StringValue]):
    def process_request(self, request: StringValue) -> StringValue:
        return request

class Early(Base):
    def __init__(self, path): ...

class Made(Base):
    def __init__(self): open("/nowhere/weights")

class Set(Base):
    def setup(self): raise RuntimeError("no weights")

class SetLater(Base):
    async def setup(self): raise RuntimeError("no weights")

class SetApart(Base):
    run_in_process = True
    def setup(self): raise RuntimeError("no weights")

class Leaves(Base):
    def setup(self): raise SystemExit("no weights")
""",
}


@dataclass(frozen=True)
class Ended:
    code: int
    output: str

    @property
    def lines(self) -> list[str]:
        """The lines about its end, without log lines at info and warning, such as those of the watchdog on a busy machine."""
        kept: list[str] = []
        log_line = False
        for line in self.output.strip().splitlines():
            log_line = bool(_INFO.match(line)) or (log_line and line.startswith("  "))
            if not log_line:
                kept.append(line)
        return kept


@dataclass(frozen=True)
class Mistake:
    """Arguments and settings of a process, and its expected last lines. `{broker}` and the like are filled in."""

    arguments: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    says: Sequence[str] = ()
    code: int = 2


Run = Callable[[Sequence[str], Mapping[str, str]], Ended]
"""Runs `hub <arguments>` with `HUB_*` settings in the folder of the models."""


@pytest.fixture(scope="module")
def hub_commands() -> Generator[Commands]:
    with commands() as started:
        yield started


@pytest.fixture(scope="module")
def run(hub_commands: Commands, folder: Path) -> Run:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    inherited |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def run(arguments: Sequence[str], settings: Mapping[str, str]) -> Ended:
        environment = inherited | {f"HUB_{name.upper()}": value for name, value in settings.items()}
        return Ended(*hub_commands.run(arguments, environment, folder, TIME_LIMIT))

    return run


def check(mistake: Mistake, ended: Ended) -> None:
    assert ended.code == mistake.code, ended.output
    end = "\n".join(ended.lines)
    assert "Traceback" not in ended.output
    assert "src/hub" not in end, ended.output
    assert 1 <= len(ended.lines) <= 5, ended.output
    for text in mistake.says:
        assert text in end


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the modules of a model author."""
    folder = tmp_path_factory.mktemp("author")
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    (folder / "a_folder").mkdir()
    (folder / "latin.toml").write_bytes(b"token = '\xe4'")
    return folder


@contextmanager
def listening(context: ssl.SSLContext | None) -> Generator[int]:
    """The port of a server that accepts connections, with TLS if it has a context, and sends no bytes."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        kept: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if context is None:
                    kept.append(connection)
                    continue
                try:
                    kept.append(context.wrap_socket(connection, server_side=True))
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)
        for link in kept:
            link.close()


@pytest.fixture(scope="module")
def places(amqp_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Mapping[str, str]]:
    """Host and port of each server in the mistakes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    port = free_port()
    locked = ServerProcess(
        ["redis-server", "--port", f"{port}", "--bind", "127.0.0.1", "--save", "", "--requirepass", "sesame"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        log=tmp_path_factory.mktemp("redis") / "log",
        ready=lambda: answers(port, b"PING\r\n", b"-NOAUTH"),
    )
    guarded = {"registry_port": "0", "directory_url": "memory://", "broker_url": amqp_url, "token": "the right one"}
    try:
        locked.start()
        with (
            listening(context) as tls,
            listening(None) as mute,
            hub_process(["hub.registry"], guarded) as registry,
        ):
            yield {
                "broker": amqp_url.rpartition("@")[2].rstrip("/"),
                "redis": redis_url.partition("://")[2].rstrip("/"),
                "locked": f"127.0.0.1:{port}",
                "tls": f"127.0.0.1:{tls}",
                "mute": f"127.0.0.1:{mute}",
                "down": f"127.0.0.1:{free_port()}",
                "registry": str(registry.wait_for("is up")["url"]),
                "taken": f"{mute}",
            }
    finally:
        locked.kill()


FREE: Final = {"gateway_port": "0", "registry_port": "0", "dashboard_port": "0"}


def component(arguments: str, **settings: str) -> tuple[str, dict[str, str]]:
    """A command with working servers, except for `settings`."""
    works = {
        "broker_url": "amqp://guest:guest@{broker}",
        "store_url": "redis://{redis}/9",
        "directory_url": "redis://{redis}/9",
        "registry_url": "{registry}",
        "token": "the right one",
    }
    used = {
        "registry": ("broker_url", "directory_url"),
        "gateway": ("broker_url", "store_url", "registry_url", "token"),
        "model": ("broker_url", "store_url", "registry_url", "token"),
        "dead": ("broker_url", "store_url", "registry_url", "token"),
        "schema": ("registry_url", "token"),
        "up": (),
    }[arguments.partition(" ")[0]]
    ports = {name: port for name, port in FREE.items() if arguments.startswith(("up", name.partition("_")[0]))}
    return arguments, {name: works[name] for name in used} | ports | settings


EVERYWHERE: Final = ("registry", "gateway", f"model {ECHO}", f"up {ECHO}", "dead list Echo")
WITH_REGISTRY: Final = ("gateway", f"model {ECHO}", "dead list", "schema list")

REFUSALS: Final = {
    **{
        f"AMQP password, {driver}, {who}": Mistake(
            *component(who, broker_url=f"{driver}://guest:wrong@{{broker}}"),
            ("403 ACCESS_REFUSED", f"HUB_BROKER_URL={driver}://guest:***@", "check user and password in the URL"),
        )
        for driver in DRIVERS
        for who in EVERYWHERE
    },
    **{
        f"AMQP virtual host, {driver}": Mistake(
            *component("gateway", broker_url=f"{driver}://guest:guest@{{broker}}/nowhere"),
            ("530 NOT_ALLOWED", "nowhere not found", "HUB_BROKER_URL", "create the virtual host"),
        )
        for driver in DRIVERS
    },
    **{
        f"AMQP with TLS to a port without, {driver}": Mistake(
            *component("gateway", broker_url=f"{driver.replace('amqp', 'amqps')}://guest:guest@{{broker}}"),
            ("does not speak TLS at this port", "HUB_BROKER_URL"),
        )
        for driver in DRIVERS
    },
    **{
        f"AMQP without TLS to a port with it, {driver}": Mistake(
            *component(f"model {ECHO}", broker_url=f"{driver}://guest:guest@{{tls}}"),
            ("speaks TLS at this port: write amqps://", "HUB_BROKER_URL"),
        )
        for driver in DRIVERS
    },
    "AMQP to something else": Mistake(
        *component("gateway", broker_url="amqp://{registry_place}"), ("it is no RabbitMQ", "HUB_BROKER_URL")
    ),
    **{
        f"no Redis password, {client}, {who}": Mistake(
            *component(who, **dict.fromkeys(names, f"{client}://{{locked}}")),
            ("asks for a password", "redis://:PASSWORD@host", *(f"HUB_{name.upper()}={client}://" for name in names)),
        )
        for client in CLIENTS
        for who, names in (
            ("registry", ["directory_url"]),
            ("gateway", ["store_url"]),
            (f"model {ECHO}", ["store_url"]),
            (f"up {ECHO}", ["store_url", "directory_url"]),
            ("dead list Echo", ["store_url"]),
        )
    },
    **{
        f"wrong Redis password, {client}": Mistake(
            *component("gateway", store_url=f"{client}://:open@{{locked}}"),
            ("does not accept the credentials", f"HUB_STORE_URL={client}://:***@"),
        )
        for client in CLIENTS
    },
    **{
        f"Redis with TLS to a port without, {client}": Mistake(
            *component("gateway", store_url=f"{client.replace('redis', 'rediss', 1)}://{{redis}}"),
            ("write redis:// instead of rediss://", "HUB_STORE_URL"),
        )
        for client in CLIENTS
    },
    **{
        f"Redis without TLS to a port with it, {client}": Mistake(
            *component("gateway", store_url=f"{client}://{{tls}}"),
            ("write rediss:// instead of redis://", "HUB_STORE_URL"),
        )
        for client in CLIENTS
    },
    **{
        f"token, {who}": Mistake(*component(who, token="wrong"), ("does not accept our token (401)", "set HUB_TOKEN"))
        for who in WITH_REGISTRY
    },
    **{
        f"registry without a scheme, {who}": Mistake(
            *component(who, registry_url="127.0.0.1:8001"),
            ("registry_url", "'127.0.0.1:8001' has no scheme: write http://127.0.0.1:8001"),
        )
        for who in WITH_REGISTRY
    },
    "registry without TLS": Mistake(
        *component(f"model {ECHO}", registry_url="http://{tls}"),
        ("write https:// instead of http://", "HUB_REGISTRY_URL"),
    ),
    "registry with TLS": Mistake(
        *component("schema list", registry_url="https://{registry_place}"), ("does not speak TLS", "HUB_REGISTRY_URL")
    ),
    "store without a scheme": Mistake(
        *component("gateway", store_url="localhost:6379"),
        ("store_url", "HUB_STORE_URL", "'localhost:6379' has no scheme: write redis://localhost:6379"),
    ),
    "broker without a scheme": Mistake(
        *component("registry", broker_url="localhost:5672"), ("broker_url", "write amqp://localhost:5672")
    ),
    "directory without a scheme": Mistake(
        *component("registry", directory_url="localhost"), ("directory_url", "write redis://localhost")
    ),
    "a password that breaks its URL": Mistake(
        *component("gateway", broker_url="amqp://ann:12/s3cret@{broker}"),
        ("broker_url", "amqp://ann:***@", "write / as %2F"),
    ),
}

STARTS: Final = {
    "a port that is none": Mistake("up", FREE | {"gateway_port": "99999"}, ("gateway_port is 99999", "1 to 65535")),
    "a negative port": Mistake("up", FREE | {"registry_port": "-1"}, ("registry_port is -1", "1 to 65535")),
    "a port that is text": Mistake("gateway", {"gateway_port": "http"}, ("HUB_GATEWAY_PORT", '"http"', "int")),
    "a port in a URL": Mistake("gateway", {"store_url": "redis://h:65536"}, ("store_url", "no port from 1 to 65535")),
    "a port that is taken": Mistake(
        "up", FREE | {"gateway_port": "{taken}"}, ("cannot listen on 127.0.0.1:", "another port")
    ),
    "a dashboard's port that is asked for and taken": Mistake(
        "up", FREE | {"dashboard_port": "{taken}"}, ("cannot listen on 127.0.0.1:", "another port")
    ),
    "no such file": Mistake("up", {"config": "nowhere.toml"}, ("HUB_CONFIG is 'nowhere.toml'", "no such file")),
    "a folder for a file": Mistake("gateway", {"config": "a_folder"}, ("HUB_CONFIG is 'a_folder'", "is a folder")),
    "a file in Latin-1": Mistake("config show", {"config": "latin.toml"}, ("HUB_CONFIG is 'latin.toml'", "not UTF-8")),
    "a level that is none": Mistake("up", {"log_level": "loud"}, ("HUB_LOG_LEVEL", '"loud"', '"warning"')),
    "an option that is none": Mistake("up --gatway-port 1", {}, ("--gatway-port", "--gateway-port")),
    "a command that is none": Mistake("gatway", {}, ("gatway", "gateway")),
    "no model named": Mistake("model", {}, ("TARGET",)),
    "a module that is not there": Mistake("up nothere:X", {}, ("no module nothere", "in the folder that holds it")),
    "no colon": Mistake("up models.Base", {}, ("'models.Base' names no model", "pkg.module:Class")),
    "another class": Mistake("up models:base", {}, ("models has no model base", "did you mean models:Base?")),
    "a file": Mistake("up models.py:Base", {}, ("'models.py:Base' names a file", "write models:Base (without .py")),
    "a file here": Mistake("up ./models.py:Base", {}, ("write models:Base (without .py",)),
    "a path": Mistake("up a/b:X", {}, ("'a/b:X' names a file", "write a.b:X")),
    "an absolute path": Mistake("up /srv/m/a.py:X", {}, ("write a:X", "in the folder /srv/m")),
    "a syntax error": Mistake(
        "up broken:X", {}, ("broken cannot be imported: SyntaxError: invalid syntax", "in broken.py, line 3", "def f(:")
    ),
    "a module that raises": Mistake(
        "up raising:X", {}, ("KeyError: 'threshold'", "in raising.py, line 2", "THRESHOLD = SETTINGS['threshold']")
    ),
    "a module that exits": Mistake("up leaving:X", {}, ("SystemExit: no GPU", "in leaving.py, line 2")),
    "a module that needs another": Mistake(
        "up needing:X", {}, ("needs pandaz, which is not installed", "in needing.py, line 1", "import pandaz")
    ),
    "code for a newer protobuf": Mistake(
        "up older:X",
        {},
        ("older cannot be imported: VersionError", "in older.py, line 2", "pip install --upgrade protobuf"),
    ),
    "two .proto files of one name": Mistake(
        "up one:X", {}, ("define model.proto", "in one.py, line 4", "generate all of them from one root folder")
    ),
    "__init__ with arguments": Mistake(
        "up models:Early",
        {},
        ("models:Early cannot be made: its __init__ needs arguments", "'path'", "models.py, line 10"),
    ),
    "__init__ that raises": Mistake(
        "up models:Made",
        FREE,
        ("__init__ of model Made raised FileNotFoundError", "in models.py, line 13, in Made.__init__"),
    ),
    **{
        f"setup that raises, {name}": Mistake(
            f"up models:{name}", FREE, (f"of model {name} raised", "no weights", "in models.py, line", ".setup\n")
        )
        for name in ("Set", "SetLater", "SetApart", "Leaves")
    },
    **{
        f"schema check of {name}": Mistake(f"schema check {name}", {}, says)
        for name, says in {
            "models:Made": ("__init__ of model Made raised FileNotFoundError", "in models.py, line 13"),
            "broken:X": ("SyntaxError", "in broken.py, line 3"),
        }.items()
    },
}

OUT_OF_REACH: Final = {
    **{
        f"{where} broker, {driver}": Mistake(
            *component(f"model {ECHO}", broker_url=f"{driver}://guest:guest@{{{where}}}", start_timeout="1"),
            ("HUB_BROKER_URL", "check that it runs"),
            code=3,
        )
        for where in ("mute", "down")
        for driver in DRIVERS
    },
    **{
        f"{where} store, {client}, {who}": Mistake(
            *component(who, store_url=f"{client}://{{{where}}}", start_timeout="1"),
            ("HUB_STORE_URL", "check that it runs"),
            code=3,
        )
        for where in ("mute", "down")
        for client in CLIENTS
        for who in ("gateway", f"model {ECHO}")
    },
    **{
        f"{where} registry": Mistake(
            *component(f"model {ECHO}", registry_url=f"http://{{{where}}}", start_timeout="1"),
            ("HUB_REGISTRY_URL", "check that it runs"),
            code=3,
        )
        for where in ("mute", "down")
    },
    "down registry, schema": Mistake(
        *component("schema list", registry_url="http://{down}"), ("HUB_REGISTRY_URL", "check that it runs"), code=3
    ),
    "down broker, dead": Mistake(
        *component("dead list Echo", broker_url="amqp://{down}"), ("HUB_BROKER_URL", "check that it runs"), code=3
    ),
}


@pytest.mark.parametrize(
    "mistake", [pytest.param(mistake, id=name) for name, mistake in (REFUSALS | OUT_OF_REACH).items()]
)
def test_a_server_that_refuses_or_is_unreachable(mistake: Mistake, places: Mapping[str, str], run: Run) -> None:
    filled = dict(places) | {"registry_place": places["registry"].partition("://")[2]}
    settings = {name: value.format_map(filled) for name, value in mistake.settings.items()}
    check(mistake, run(mistake.arguments.split(), settings))


@pytest.mark.parametrize("mistake", [pytest.param(mistake, id=name) for name, mistake in STARTS.items()])
def test_settings_and_models_that_cannot_work(mistake: Mistake, run: Run) -> None:
    with listening(None) as taken:
        settings = {name: value.format_map({"taken": taken}) for name, value in mistake.settings.items()}
        check(mistake, run(mistake.arguments.split(), settings))


@pytest.mark.parametrize("level", ["INFO", "Info", "WARN", "Warning", "FATAL", "critical"])
def test_choices_are_read_in_any_case(level: str, run: Run) -> None:
    shown = run(["config", "show", "--json", "--backend", "Trio"], {"log_level": level, "log_format": "JSON"})
    assert shown.code == 0, shown.output
    wanted = {"warn": "warning", "fatal": "critical"}.get(level.lower(), level.lower())
    assert f'"value": "{wanted}"' in shown.output
    assert '"value": "trio"' in shown.output
    assert '"value": "json"' in shown.output


def test_the_help_has_the_exit_codes(run: Run) -> None:
    said = run(["--help"], {})
    assert said.code == 0
    words = " ".join(said.output.split())
    assert "Exit codes: 0 success" in words
    assert "3 a server could not be reached" in words
