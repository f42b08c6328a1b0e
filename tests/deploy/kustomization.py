"""The part of kustomize that deploy/kubernetes uses; other fields are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

Object = dict[str, Any]

_KEYS: Final = {
    *("apiVersion", "kind", "namespace", "resources", "components", "images", "patches"),
    *("configMapGenerator", "secretGenerator", "generatorOptions"),
}


class Unbuildable(Exception):
    """Kustomize would refuse it, or this module does not support it."""


@dataclass
class Built:
    """The objects of a kustomization. Generated names have no hash.

    Attributes:
        objects: In the order in which they are read.
        configs: ConfigMap -> variable -> value.
        secrets: Secret -> variable -> value.
    """

    objects: list[Object] = field(default_factory=list)
    configs: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)

    def of(self, *kinds: str) -> Iterator[Object]:
        return (it for it in self.objects if it["kind"] in kinds)

    def one(self, kind: str, name: str) -> Object | None:
        return next((it for it in self.of(kind) if it["metadata"]["name"] == name), None)


def build(folder: Path) -> Built:
    """The output of `kubectl kustomize` for a folder.

    Raises:
        Unbuildable: Something is missing, unknown, or there twice.
    """
    built = Built()
    _apply(folder, built)
    names = [(it["kind"], it["metadata"]["name"]) for it in built.objects]
    if len(set(names)) != len(names):
        raise Unbuildable(f"an object is there twice: {names}")
    return built


@cache
def _manifests(text: str) -> str:
    """The objects of a file, as JSON; cached, because YAML is slow and most copies of a file are equal."""
    return json.dumps([it for it in yaml.safe_load_all(text) if it is not None])


def kustomization(folder: Path) -> Mapping[str, Any]:
    path = folder / "kustomization.yaml"
    if not path.exists():
        raise Unbuildable(f"{folder.name} has no kustomization.yaml")
    read: Mapping[str, Any] = yaml.safe_load(path.read_text())
    if unknown := read.keys() - _KEYS:
        raise Unbuildable(f"these tests do not know {sorted(unknown)}")
    return read


def _apply(folder: Path, built: Built) -> None:
    read = kustomization(folder)
    for name in read.get("resources", ()):
        path = folder / name
        if path.is_dir():
            _apply(path, built)
        elif path.exists():
            built.objects += json.loads(_manifests(path.read_text()))
        else:
            raise Unbuildable(f"{folder.name} has no {name}")
    for name in read.get("components", ()):
        if kustomization(folder / name)["kind"] != "Component":
            raise Unbuildable(f"{name} is no Component")
        _apply(folder / name, built)
    _generate(folder, read, built)
    for patch in read.get("patches", ()):
        _patch(built, patch)
    for image in read.get("images", ()):
        _rename(built, image)


def _generate(folder: Path, read: Mapping[str, Any], built: Built) -> None:
    for generator in read.get("configMapGenerator", ()):
        built.configs[generator["name"]] = dict(literal.split("=", 1) for literal in generator["literals"])
    for generator in read.get("secretGenerator", ()):
        if not read.get("generatorOptions", {}).get("disableNameSuffixHash"):
            raise Unbuildable("the Secret's name gets a hash that objects of KEDA would not follow")
        built.secrets[generator["name"]] = _variables(folder, generator["envs"])


def _variables(folder: Path, files: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in files:
        if not (folder / name).exists():
            raise Unbuildable(f"{folder.name} has no {name}")
        lines = (folder / name).read_text().splitlines()
        found |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return found


def _patch(built: Built, patch: Mapping[str, Any]) -> None:
    label, _, value = patch["target"]["labelSelector"].partition("=")
    targets = [it for it in built.of(patch["target"]["kind"]) if it["metadata"].get("labels", {}).get(label) == value]
    if not targets:
        raise Unbuildable(f"nothing is a {patch['target']}")
    for target in targets:
        for step in yaml.safe_load(patch["patch"]):
            *path, last = step["path"].strip("/").split("/")
            place = target
            for name in path:
                place = place[name]
            if step["op"] != "remove" or last not in place:
                raise Unbuildable(f"{target['metadata']['name']} does not take {step}")
            del place[last]


def _rename(built: Built, image: Mapping[str, str]) -> None:
    for it in built.of("Deployment", "StatefulSet"):
        for container in it["spec"]["template"]["spec"]["containers"]:
            if container["image"] == image["name"]:
                container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
