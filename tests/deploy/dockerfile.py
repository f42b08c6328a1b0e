"""A parser of the Dockerfile, and its steps that need no container engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hub.settings.gateway import GatewaySettings
from hub.settings.registry import RegistrySettings


@dataclass
class Stage:
    """The instructions of one stage with their arguments, in order."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        return [rest for name, rest in self.steps if name == instruction][-1]

    def copies(self) -> Iterator[tuple[list[str], str]]:
        """Sources and destination of each COPY from the build context."""
        for name, rest in self.steps:
            if name == "COPY" and not rest.startswith("--from"):
                *sources, destination = shlex.split(rest)
                yield sources, destination


def stages(folder: Path) -> list[Stage]:
    """The stages of a folder's Dockerfile, with its ARGs before the first FROM filled in.

    One that begins with another stage has the base and the steps of that too.
    """
    text = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", (folder / "Dockerfile").read_text(), flags=re.MULTILINE))
    variables: dict[str, str] = {}
    found: list[Stage] = []
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "ARG" and not found:
            name, _, value = rest.partition("=")
            variables[name] = value
        elif instruction == "FROM":
            base, _, name = re.sub(r"\$\{(\w+)\}", lambda it: variables[it.group(1)], rest).partition(" AS ")
            earlier = next((stage for stage in found if stage.name == base), None)
            found.append(Stage(base, name) if earlier is None else Stage(earlier.base, name, [*earlier.steps]))
        else:
            found[-1].steps.append((instruction, rest.strip()))
    return found


def admitted(folder: Path, source: str) -> bool:
    """Whether .dockerignore, which begins with `*`, lets a source of a COPY into the build context."""
    lines = [line for line in (folder / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*", "everything is left out first"
    return any(Path(source).is_relative_to(line[1:]) for line in lines if line.startswith("!"))


def copy_context(folder: Path, stage: Stage, into: Path) -> None:
    """Runs the COPYs of the build stage with `into` as its root, relative to WORKDIR."""
    where = "/"
    for name, rest in stage.steps:
        if name == "WORKDIR":
            where = rest
        elif name == "COPY" and not rest.startswith("--from"):
            *sources, destination = shlex.split(rest)
            target = into / str(Path(where) / destination).lstrip("/")
            for source in sources:
                path = folder / source
                if path.is_dir():
                    shutil.copytree(path, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
                elif destination.endswith("/"):
                    target.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
                else:
                    shutil.copy(path, target)


def check_image(folder: Path, *, version: str) -> Iterator[str]:
    """Checks of the copied and installed files, and of the metadata of the image."""
    _, build, base, image = stages(folder)
    if build.base != image.base or not re.fullmatch(r"python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", image.base):
        yield f"the image is made from {build.base} and {image.base}"
    if list(image.copies()):
        yield "the image copies past the build stage"
    if [rest for name, rest in base.steps if name == "COPY"] != ["--from=build /hub /hub"]:
        yield "the base of other images has more than hub"
    if dict(re.findall(r"(\w+)=(\S+)", base.last("ENV"))).get("PIP_PYTHON") != "/hub/bin/python":
        yield "pip does not install beside hub"
    yield from _built(folder, build)
    yield from _promised(image, version)


def _built(folder: Path, build: Stage) -> Iterator[str]:
    for source in [source for sources, _ in build.copies() for source in sources]:
        if not (folder / source).exists():
            yield f"there is no {source} to copy"
        elif not admitted(folder, source):
            yield f".dockerignore keeps {source} out"
    for name, rest in build.steps:
        if name == "RUN" and "install" in rest and not ("--require-hashes" in rest or "--no-deps" in rest):
            yield f"`{rest}` installs what no hash pins"


def _promised(image: Stage, version: str) -> Iterator[str]:
    user = image.last("USER")
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
        yield f"the image runs as {user}, which Kubernetes cannot distinguish from root"
    if json.loads(image.last("ENTRYPOINT")) != ["hub"]:
        yield "the image does not run hub"
    if image.last("STOPSIGNAL") != "SIGTERM":
        yield f"hub drains on SIGTERM, not on {image.last('STOPSIGNAL')}"
    exposed = {int(port) for port in image.last("EXPOSE").split()}
    if exposed != {RegistrySettings().registry_port, GatewaySettings().gateway_port}:
        yield f"the image tells of the ports {sorted(exposed)}"
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', image.last("LABEL")))
    if labels.get("version") != version:
        yield f"the image says that it is version {labels.get('version')}, not {version}"
