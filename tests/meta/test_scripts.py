"""The scripts of `make` on a machine with missing programs. The programs of that machine are fakes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHELL_TOOLS = ("bash", "sh", "dirname", "chmod", "rm", "env", "cat", "mktemp", "tee", "grep", "tail", "nice")

Machine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Runs a script on a machine with a shell and the programs given as name="shell script"."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in SHELL_TOOLS:
        found = shutil.which(tool)
        assert found
        (programs / tool).symlink_to(found)

    def run(script: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in more.items() if name.isupper()}
        for name, text in more.items():
            if name not in environment:
                program = programs / name.replace("_", "-")
                program.write_text(f"#!/bin/sh\n{text}\n")
                program.chmod(0o755)
        return subprocess.run(
            [SCRIPTS / script, *arguments],
            env={"PATH": str(programs), "POLICY_RC_D": str(tmp_path / "policy-rc.d"), **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def no_system_rabbitmq(tmp_path: Path) -> Path:
    """A copy of scripts/ that does not use /usr/sbin of this machine."""
    copy = tmp_path / "project" / "scripts"
    shutil.copytree(SCRIPTS, copy)
    script = copy / "need-servers.sh"
    text = script.read_text()
    for program in ("rabbitmq-server", "nginx"):
        text = text.replace(f"/usr/sbin/{program}", f"/nowhere/{program}")
    script.write_text(text)
    return copy


def test_packages_are_installed_by_root_without_starting_services(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = machine(
        "apt-install.sh",
        "redis-server",
        id="echo 0",
        apt_get=f'echo "$@" >>{log}; {tmp_path}/policy-rc.d; echo "policy $?" >>{log}',
    )

    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines() == [
        "update -q",
        "policy 101",
        "install -q -y --no-install-recommends redis-server",
        "policy 101",
    ]
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_policy_of_the_machine_is_kept(machine: Machine, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")

    done = machine("apt-install.sh", "redis-server", id="echo 0", apt_get="exit 0")

    assert done.returncode == 0, done.stderr
    assert "exit 104" in policy.read_text()


def test_packages_are_installed_with_sudo_without_a_password(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = machine(
        "apt-install.sh",
        "chromium",
        id="echo 1000",
        sudo=f'echo "$@" >>{log}; shift; [ "$1" = true ] || exec "$@"',
        apt_get="exit 0",
    )

    assert done.returncode == 0, done.stderr
    assert "apt-get install -q -y --no-install-recommends chromium" in log.read_text()


@pytest.mark.parametrize(
    "programs",
    [
        pytest.param({"id": "echo 1000", "apt_get": "exit 0"}, id="no sudo"),
        pytest.param({"id": "echo 1000", "apt_get": "exit 0", "sudo": "exit 1"}, id="sudo asks"),
        pytest.param({"id": "echo 0"}, id="no apt-get"),
        pytest.param({"id": "echo 0", "apt_get": "exit 100"}, id="apt-get fails"),
    ],
)
def test_packages_that_cannot_be_installed_are_a_failure(machine: Machine, programs: dict[str, str]) -> None:
    assert machine("apt-install.sh", "redis-server", **programs).returncode != 0


def test_a_machine_that_has_the_servers_needs_nothing(machine: Machine) -> None:
    done = machine(
        "need-servers.sh",
        rabbitmq_server="",
        redis_server="",
        chromium="",
        prometheus="",
        promtool="",
        nginx="",
        apt_get="exit 100",
        id="echo 0",
    )

    assert done.returncode == 0, done.stderr


def test_promtool_alone_is_no_prometheus(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    programs = {"rabbitmq_server": "", "redis_server": "", "chromium": "", "promtool": ""}
    done = machine("need-servers.sh", **programs, id="echo 0", apt_get=f"echo $@ >>{log}")

    assert done.returncode == 0, done.stderr
    assert "recommends prometheus" in log.read_text()


def test_missing_servers_are_installed(machine: Machine, no_system_rabbitmq: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = machine(
        str(no_system_rabbitmq / "need-servers.sh"), redis_server="", id="echo 0", apt_get=f"echo $@ >>{log}"
    )

    assert done.returncode == 0, done.stderr
    assert "recommends rabbitmq-server chromium prometheus nginx" in log.read_text()


def test_missing_servers_stop_the_tests_with_both_repairs(machine: Machine, no_system_rabbitmq: Path) -> None:
    done = machine(str(no_system_rabbitmq / "need-servers.sh"), id="echo 1000")

    assert done.returncode == 1
    for package, variable in (
        ("rabbitmq-server", "HUB_TEST_AMQP_URL"),
        ("redis-server", "HUB_TEST_REDIS_URL"),
        ("chromium", "HUB_TEST_CHROMIUM"),
        ("prometheus", "PATH"),
        ("nginx", "PATH"),
    ):
        assert f"apt-get install {package}" in done.stderr
        assert variable in done.stderr


def test_given_servers_are_used_and_their_limits_are_printed(machine: Machine, no_system_rabbitmq: Path) -> None:
    done = machine(
        str(no_system_rabbitmq / "need-servers.sh"),
        id="echo 1000",
        my_chromium="",
        prometheus="",
        promtool="",
        nginx="",
        HUB_TEST_AMQP_URL="amqp://elsewhere",
        HUB_TEST_REDIS_URL="redis://elsewhere",
        HUB_TEST_CHROMIUM="my-chromium",
    )

    assert done.returncode == 0, done.stderr
    assert "not kills_servers" in done.stderr


def test_an_old_python_is_named_with_its_repair(machine: Machine, tmp_path: Path) -> None:
    done = machine("make-venv.sh", str(tmp_path / "venv"), python3="exit 1")

    assert done.returncode == 1
    assert "3.11 or newer" in done.stderr


def test_a_python_without_ensurepip_gets_it_from_debian(machine: Machine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    python = f'case "$2" in *ensurepip*) exit 1;; esac; [ "$2" = venv ] && echo venv "$3" >>{log}; exit 0'
    done = machine("make-venv.sh", str(tmp_path / "venv"), python3=python, id="echo 0", apt_get=f'echo "$@" >>{log}')

    assert done.returncode == 0, done.stderr
    assert log.read_text().splitlines()[1:] == [
        "install -q -y --no-install-recommends python3-venv",
        f"venv {tmp_path / 'venv'}",
    ]


def test_a_python_without_ensurepip_names_the_repair(machine: Machine, tmp_path: Path) -> None:
    python = 'case "$2" in *ensurepip*) exit 1;; esac; exit 0'
    done = machine("make-venv.sh", str(tmp_path / "venv"), python3=python, id="echo 1000")

    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


SUMMARY = "===== 3 passed, 1 warning in 61.02s (0:01:01) ====="


@pytest.mark.parametrize(
    ("make", "code", "last"),
    [
        pytest.param(f'[ $1 = test ] && echo "{SUMMARY}"; exit 0', 0, SUMMARY, id="green"),
        pytest.param('[ $1 = test ] && echo "2 passed in 0.40s"; exit 0', 0, "2 passed in 0.40s", id="quiet"),
        pytest.param(f'echo "{SUMMARY}"; [ $1 != static ]', 1, SUMMARY, id="a check fails"),
        pytest.param(f'echo "{SUMMARY}"; [ $1 != site ]', 1, SUMMARY, id="the site fails"),
        pytest.param('echo "= 1 failed in 2.00s ="; [ $1 != test ]', 1, "= 1 failed in 2.00s =", id="a test fails"),
        pytest.param("exit 0", 1, "no summary: pytest did not finish", id="no tests"),
    ],
)
def test_ci_ends_with_the_summary_of_the_tests(machine: Machine, make: str, code: int, last: str) -> None:
    done = machine("../.ci/run", make=make)

    assert done.stdout.splitlines()[-1] == last
    assert done.returncode == code


def test_ci_stops_when_nothing_can_be_installed(machine: Machine) -> None:
    done = machine("../.ci/run", make="[ $1 = install ] || echo too far; exit 1")

    assert done.returncode == 1
    assert "too far" not in done.stdout


def test_the_scripts_are_executable() -> None:
    assert [path.name for path in SCRIPTS.glob("*.sh") if not os.access(path, os.X_OK)] == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the files that `make generate` needs."""
    root = SCRIPTS.parent
    for name in ("scripts", "protos", "stubs", "examples", "deploy/grafana"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    (tmp_path / "src/hub/v1").mkdir(parents=True)
    for module in (root / "src/hub/v1").glob("*_pb2.py"):
        shutil.copy(module, tmp_path / "src/hub/v1")
    return tmp_path


def generated(project: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "scripts" / script],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PYTHONPATH": str(SCRIPTS.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("proto", "module"),
    [
        ("protos/translator/v1/translator.proto", "translator/v1/translator_pb2.py"),
        ("protos/translator/translator.proto", "translator/translator_pb2.py"),
        ("protos/plain.proto", "plain_pb2.py"),
        ("protos/examples/deep/er/v2/two-words.proto", "examples/deep/er/v2/two_words_pb2.py"),
        ("protos/hub/v2/task.proto", "src/hub/v2/task_pb2.py"),
    ],
)
def test_every_proto_below_protos_is_generated_and_listed(project: Path, proto: str, module: str) -> None:
    source = project / proto
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text('syntax = "proto3";\npackage added.v1;\nmessage Added { string text = 1; }\n')
    stale = generated(project, "check-generated.sh")
    assert stale.returncode == 1
    assert module in stale.stdout
    done = generated(project, "generate.sh")
    assert done.returncode == 0, done.stderr
    assert (project / module).is_file()
    stub = Path("stubs") / Path(module.removeprefix("src/")).with_suffix(".pyi")
    assert (project / stub).is_file()
    assert f"{proto} -> ./{module}, ./{stub}" in done.stdout
    assert "protos/hub/v1/task.proto -> ./src/hub/v1/task_pb2.py" in done.stdout
    fresh = generated(project, "check-generated.sh")
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    source.unlink()
    left_behind = generated(project, "check-generated.sh")
    assert left_behind.returncode == 1


def test_a_proto_outside_of_protos_is_refused(project: Path) -> None:
    (project / "examples/mine.proto").write_text('syntax = "proto3";\n')
    (project / ".venv").mkdir()
    (project / ".venv/library.proto").write_text('syntax = "proto3";\n')
    done = generated(project, "generate.sh")
    assert done.returncode == 1
    assert "examples/mine.proto" in done.stderr
    assert "move it" in done.stderr
    assert "library" not in done.stderr
