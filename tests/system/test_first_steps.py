"""Common mistakes: each ends the start at once, with the documented exit code and a few lines that name the repair.

`docs/starting.md` has the same table; for the mistakes of a first day it is read from there, with the texts. `start_timeout` is left at 60 seconds, so a mistake that is retried instead of
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
from dataclasses import dataclass, field, replace
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
    "other.py": """
from google.protobuf.wrappers_pb2 import Int64Value
from hub import Model

class Base(Model[Int64Value, Int64Value]):
    def process_request(self, request): return request
""",
    "forgotten.py": """
from google.protobuf.wrappers_pb2 import StringValue
from hub import Model

class Forgotten(Model[StringValue, StringValue]):
    pass
""",
    "misspelt.py": """
from google.protobuf.wrappers_pb2 import StringValue
from hub import Model

class Misspelt(Model[StringValue, StringValue]):
    def proces_request(self, request): return request
""",
    "attribute.py": """
from google.protobuf.wrappers_pb2 import StringValue
from hub import Model

class Attribute(Model[StringValue, StringValue]):
    concurency = 4
    def process_request(self, request): return request
""",
    "texts.py": """
from hub import Model

class Texts(Model[str, str]):
    def process_request(self, request): return request
""",
    "relative.py": "from .models import Base\n",
    "my-model.py": "",
    "own/json.py": "",
    "shadow/hub.py": "",
    "shadow/model.py": "",
    "src/inner.py": "",
    "typo.toml": "gateway_prot = 8000\n",
    "table.toml": "[gateway]\nport = 8000\n",
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

class Plain: pass
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
    folder: str = "."


Run = Callable[..., Ended]
"""Runs `hub <arguments>` with `HUB_*` settings in the folder of the models, or in one below it."""


@pytest.fixture(scope="module")
def hub_commands() -> Generator[Commands]:
    with commands() as started:
        yield started


@pytest.fixture(scope="module")
def run(hub_commands: Commands, folder: Path) -> Run:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    inherited |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def run(arguments: Sequence[str], settings: Mapping[str, str], below: str = ".") -> Ended:
        environment = inherited | {f"HUB_{name.upper()}": value for name, value in settings.items()}
        return Ended(*hub_commands.run(arguments, environment, folder / below, TIME_LIMIT))

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
    for name in ("src", "own", "shadow"):
        (folder / name).mkdir()
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
        f"token, {who}": Mistake(*component(who, token="wrong"), ("does not accept the token (401)", "set HUB_TOKEN"))
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
    "a port in a URL": Mistake(
        "gateway", {"store_url": "redis://h:65536"}, ("store_url", "not a port from 1 to 65535")
    ),
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
    "no model named": Mistake("model", {}, ("TARGET",)),
    "a module that is not there": Mistake("up nothere:X", {}, ("no module nothere", "in the folder that contains it")),
    "a file here": Mistake("up ./models.py:Base", {}, ("write models:Base (without .py",)),
    "a path": Mistake("up a/b:X", {}, ("'a/b:X' names a file", "write a.b:X")),
    "an absolute path": Mistake("up /srv/m/a.py:X", {}, ("write a:X", "in the folder /srv/m")),
    "a module that raises": Mistake(
        "up raising:X", {}, ("KeyError: 'threshold'", "in raising.py, line 2", "THRESHOLD = SETTINGS['threshold']")
    ),
    "a module that exits": Mistake("up leaving:X", {}, ("SystemExit: no GPU", "in leaving.py, line 2")),
    "code for a newer protobuf": Mistake(
        "up older:X",
        {},
        ("older cannot be imported: VersionError", "in older.py, line 2", "pip install --upgrade protobuf"),
    ),
    "two .proto files of one name": Mistake(
        "up one:X", {}, ("define model.proto", "in one.py, line 4", "generate all of them from one root folder")
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

FIRST_DAY: Final = {
    "the name of the file instead of the module": Mistake("up models.py:Base"),
    "a path instead of a module": Mistake("up ./src/inner.py:Base"),
    "the wrong folder": Mistake("up inner:Base"),
    "a module without a class": Mistake("up models"),
    "the class in other letters": Mistake("up models:base"),
    "a class that is no model": Mistake("up models:Plain"),
    "commas between models": Mistake("up models:Base,other:Base"),
    "a hyphen in the name of the file": Mistake("up my_model:Model"),
    "a file with the name of an installed package": Mistake("up json:Model", folder="own"),
    "a file called `hub.py`": Mistake("up model:Model", folder="shadow"),
    "an import with a dot outside of a package": Mistake("up relative:Base"),
    "a syntax error": Mistake("up broken:X"),
    "a package that is not installed": Mistake("up needing:X"),
    "no `process_request`": Mistake("up forgotten:Forgotten"),
    "a misspelt `process_request`": Mistake("up misspelt:Misspelt"),
    "a misspelt attribute": Mistake("up attribute:Attribute"),
    "messages that are no protobuf": Mistake("up texts:Texts"),
    "`__init__` with arguments": Mistake("up models:Early"),
    "`setup` that raises": Mistake("up models:Set", FREE),
    "two models of one name": Mistake("up models:Base other:Base", FREE),
    "a port in use": Mistake("up", FREE | {"gateway_port": "{taken}"}),
    "a port that is no number": Mistake("up", FREE | {"gateway_port": "http"}),
    "a misspelt option": Mistake("up --gatway-port 8000"),
    "an option of another command": Mistake("gateway --registry-port 8001"),
    "an argument too many": Mistake("gateway models:Base"),
    "a misspelt command": Mistake("gatway"),
    "a misspelt variable": Mistake("up", {"gatway_port": "8000"}),
    "a misspelt key in the file": Mistake("up", {"config": "typo.toml"}),
    "a table in the file": Mistake("up", {"config": "table.toml"}),
    "a time with a unit": Mistake("up", FREE | {"ping_period": "30s"}),
    "an address of all networks without a key": Mistake("up", FREE | {"gateway_host": "0.0.0.0"}),
    "`memory://` for several processes": Mistake("gateway", {"broker_url": "memory://"}),
    "the scheme of another server": Mistake("gateway", {"broker_url": "http://127.0.0.1:5672"}),
    "no scheme": Mistake("gateway", {"store_url": "localhost:6379"}),
    "the wrong password of RabbitMQ": Mistake(
        *component(f"model {ECHO}", broker_url="amqp://guest:wrong@{broker}"),
    ),
    "RabbitMQ that does not run": Mistake(
        *component(f"model {ECHO}", broker_url="amqp://guest:guest@{down}", start_timeout="1"), code=3
    ),
    "a registry that does not run": Mistake(
        *component(f"model {ECHO}", registry_url="http://{down}", start_timeout="4"), code=3
    ),
}
"""The rows of the table in `docs/starting.md`, by their first column. The texts to look for are in the second one."""

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
            *component(who, store_url=f"{client}://{{{where}}}", start_timeout="3"),
            ("HUB_STORE_URL", "check that it runs"),
            code=3,
        )
        for where in ("mute", "down")
        for client in CLIENTS
        for who in ("gateway", f"model {ECHO}")
    },
    **{
        f"{where} registry": Mistake(
            *component(f"model {ECHO}", registry_url=f"http://{{{where}}}", start_timeout="3"),
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


def documented() -> Mapping[str, tuple[Sequence[str], int]]:
    """The mistakes of `docs/starting.md` with the texts that hub prints, and the exit code."""
    page = (ROOT / "docs" / "starting.md").read_text()
    section = page.partition("## Mistakes of a first day\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    return {
        mistake.strip(): ([part for text in re.findall("`([^`]+)`", says) for part in text.split("...")], int(code))
        for mistake, says, code in rows
    }


def test_the_mistakes_of_a_first_day_are_documented() -> None:
    assert {name: code for name, (_, code) in documented().items()} == {
        name: mistake.code for name, mistake in FIRST_DAY.items()
    }
    assert len(FIRST_DAY) >= 30
    assert all(any(map(str.strip, texts)) for texts, _ in documented().values())


@pytest.mark.parametrize("name", list(FIRST_DAY))
def test_a_mistake_of_a_first_day(name: str, places: Mapping[str, str], run: Run) -> None:
    mistake, (texts, _) = FIRST_DAY[name], documented()[name]
    settings = {key: value.format_map(places) for key, value in mistake.settings.items()}
    check(
        replace(mistake, says=[text.strip() for text in texts]),
        run(mistake.arguments.split(), settings, mistake.folder),
    )


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
