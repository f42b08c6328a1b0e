"""Manifests on the how-to pages against those of deploy/ and compose.yaml."""

from __future__ import annotations

from typing import Any

import yaml

from tests.docs.blocks import ROOT, blocks_to_check

KUBERNETES = ROOT / "deploy" / "kubernetes"


def manifests(page: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(block.text) for block in blocks_to_check("yaml") if block.page == f"docs/how-to/{page}.md"]


def objects(path: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((KUBERNETES / path).read_text()) if each]


def test_the_scaled_object_of_a_model_is_that_of_the_examples_with_other_names() -> None:
    (shown,) = manifests("keda")
    example = next(
        each for each in objects("components/autoscaling/scaled-objects.yaml") if each["metadata"]["name"] == "digits"
    )
    text = yaml.safe_dump(example).replace("digits", "own-model").replace("Digits", "Sentiment")

    assert shown == yaml.safe_load(text)


def test_the_overlay_of_a_model_names_what_is_there() -> None:
    (shown,) = manifests("deploy")
    overlay = KUBERNETES / "overlays" / "trial"
    deployments = [each for each in objects("components/own-model/own-model.yaml") if each["kind"] == "Deployment"]
    images = [
        container["image"] for each in deployments for container in each["spec"]["template"]["spec"]["containers"]
    ]

    assert all((overlay / path).resolve().is_dir() for path in [*shown["resources"], *shown["components"]])
    assert [image["name"] for image in shown["images"]] == images


def test_a_gpu_is_given_to_a_service_and_a_container_that_exist() -> None:
    compose, patch = manifests("gpu")
    (deployment,) = [each for each in objects("components/own-model/own-model.yaml") if each["kind"] == "Deployment"]
    containers = {each["name"] for each in deployment["spec"]["template"]["spec"]["containers"]}

    assert compose["services"].keys() <= yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].keys()
    assert (patch["kind"], patch["metadata"]["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert {each["name"] for each in patch["spec"]["template"]["spec"]["containers"]} == containers


def test_the_settings_of_an_own_model_in_compose_exist() -> None:
    text = (ROOT / "compose.yaml").read_text()

    assert "${MODEL_IMAGE:-" in text
    assert "own" in yaml.safe_load(text)["services"]["own-model"]["profiles"]
