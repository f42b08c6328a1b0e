"""deploy/kubernetes against the schemas of Kubernetes, the program, compose.yaml and itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import hub
from tests.deploy import kubernetes_objects as objects, kubernetes_pods as those
from tests.deploy.compose_file import compose
from tests.deploy.kustomization import Built, Unbuildable, build, kustomization
from tests.deploy.program import ROOT, Mistake

OVERLAYS = ("trial", "production")
NOT_MANIFESTS = {"kustomization.yaml"}
SECRETS = {
    "HUB_TOKEN": "t" * 48,
    "HUB_API_KEYS": "k" * 48,
    "HUB_BROKER_URL": "amqps://hub:p@rabbitmq.servers.svc:5671/hub",
    "HUB_STORE_URL": "rediss://hub:p@redis.servers.svc:6379/0",
    "HUB_DIRECTORY_URL": "rediss://hub:p@redis.servers.svc:6379/0",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/ with the secrets filled in as the documentation says."""
    deploy = tmp_path_factory.mktemp("filled") / "deploy"
    shutil.copytree(ROOT / "deploy/kubernetes", deploy / "kubernetes", ignore=shutil.ignore_patterns("secrets.env"))
    shutil.copytree(ROOT / "deploy/prometheus", deploy / "prometheus")
    make_secrets(deploy / "kubernetes")
    production = deploy / "kubernetes/overlays/production"
    example = (production / "secrets.env.example").read_text()
    for name, value in SECRETS.items():
        assert f"\n{name}=\n" in example
        example = example.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    (production / "secrets.env").write_text(example)
    return deploy


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of deploy/kubernetes, with secrets, for mistakes."""
    shutil.copytree(filled, tmp_path / "deploy")
    return tmp_path / "deploy" / "kubernetes"


def make_secrets(folder: Path) -> None:
    (folder / "overlays/trial/secrets.env").unlink(missing_ok=True)
    subprocess.run([folder / "overlays/trial/make-secrets.sh"], check=True)


def complaints(folder: Path) -> Iterator[str]:
    yield from unlisted(folder)
    for overlay in OVERLAYS:
        try:
            built = build(folder / "overlays" / overlay)
        except Unbuildable as error:
            yield str(error)
            continue
        # Each needs the ones before it to find nothing.
        yield from (
            list(objects.check_schemas(built))
            or list(those.check_commands(built))
            or list(those.check_hub(built))
            or list(around(built, folder))
        )


def around(built: Built, folder: Path) -> Iterator[str]:
    yield from those.check_all_pods(built)
    yield from objects.check_services(built)
    yield from objects.check_disruption_budgets(built)
    yield from objects.check_flows(built)
    yield from objects.check_autoscaling(built)
    yield from objects.check_monitoring(built, folder.parent / "prometheus" / "prometheus.yml")


def unlisted(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.yaml"):
        if path.name not in NOT_MANIFESTS and path.name not in kustomization(path.parent)["resources"]:
            yield f"{path.name} is in no kustomization"


def test_all_checks_of_the_manifests_pass(folder: Path) -> None:
    assert list(complaints(folder)) == []


def test_each_overlay_has_every_component(folder: Path) -> None:
    kinds = {
        overlay: {(it["kind"], it["metadata"]["name"]) for it in build(folder / "overlays" / overlay).objects}
        for overlay in OVERLAYS
    }
    hub = {("Deployment", name) for name in ("registry", "gateway", "model-a", "digits")}

    assert hub < kinds["trial"]
    assert hub < kinds["production"]
    assert {("StatefulSet", "rabbitmq"), ("StatefulSet", "redis")} < kinds["trial"]
    assert {("ScaledObject", "digits"), ("PodMonitor", "hub")} < kinds["production"]


def test_overlays_run_the_current_version(folder: Path) -> None:
    images = {
        pod.container["image"] for overlay in OVERLAYS for pod in those.ours(build(folder / "overlays" / overlay))
    }

    assert images == {f"hub:{hub.__version__}"}


def test_a_model_of_ones_own_needs_its_image_and_nothing_else(folder: Path) -> None:
    overlay = folder / "overlays/trial/kustomization.yaml"
    text = overlay.read_text()
    setting = '  - { name: own-model, newName: sentiment, newTag: "1" }\n'
    text = text.replace("images:\n", f"images:\n{setting}") + "components: [../../components/own-model]\n"
    overlay.write_text(text)
    built = build(overlay.parent)
    own, example = built.one("Deployment", "own-model"), built.one("Deployment", "model-a")
    assert own is not None
    assert example is not None
    container = example["spec"]["template"]["spec"]["containers"][0]
    del container["args"]  # the CMD of the image
    container["image"] = "sentiment:1"

    assert list(objects.check_schemas(built)) == []
    assert own == json.loads(json.dumps(example).replace("model-a", "own-model").replace("ModelA", "own-model"))
    assert built.one("PodDisruptionBudget", "own-model") is not None


def test_no_secret_is_committed() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *(f"deploy/kubernetes/overlays/{it}/secrets.env" for it in OVERLAYS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()

    assert len(ignored) == len(OVERLAYS)


def test_secrets_are_new_each_time_readable_by_their_owner_alone_and_never_overwritten(folder: Path) -> None:
    script = folder / "overlays/trial/make-secrets.sh"
    file = folder / "overlays/trial/secrets.env"
    first = file.read_text()
    again = subprocess.run([script], capture_output=True, check=False)
    assert again.returncode == 1
    assert file.read_text() == first
    assert file.stat().st_mode & 0o777 == 0o600

    make_secrets(folder)

    variables = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert not {variables["HUB_TOKEN"], variables["HUB_API_KEYS"], variables["RABBITMQ_PASSWORD"]} & set(
        dict(line.split("=", 1) for line in first.splitlines()).values()
    )
    assert len(variables["HUB_TOKEN"]) == 48


def test_rabbitmq_and_redis_are_those_of_the_compose_file(folder: Path) -> None:
    built = build(folder / "overlays/trial")
    services = compose(ROOT)["services"]

    found = {pod.name: pod.container for pod in those.pods(built)}
    for name in ("rabbitmq", "redis"):
        assert found[name]["image"] == services[name]["image"]
    assert found["redis"]["args"] == services["redis"]["command"]
    assert (
        built.secrets["hub"]["HUB_BROKER_URL"].split("@")[0]
        == f"amqp://hub:{built.secrets['hub']['RABBITMQ_PASSWORD']}"
    )


MISTAKES = [
    Mistake("base/registry.yaml", "HUB_REGISTRY_HOST", "HUB_REGISTRY_HOTS", "did you mean HUB_REGISTRY_HOST"),
    Mistake("base/registry.yaml", "value: 0.0.0.0", "value: 127.0.0.1", "does not listen"),
    Mistake("base/registry.yaml", "args: [registry]", "args: [regisrty]", "Unknown command"),
    Mistake("base/registry.yaml", "args: [registry]", "args: [registry, --ping-misses, none]", "Invalid value"),
    Mistake("base/registry.yaml", "containerPort: 8001", "containerPort: 8011", "listens on 8001"),
    Mistake("base/registry.yaml", "containerPort: 8001", "containerPrt: 8001", "containerPort' is a required"),
    Mistake("base/registry.yaml", "port: 8001, targetPort", "port: 8002, targetPort", "which is not 8002"),
    Mistake("base/registry.yaml", "enableServiceLinks: false", "enableServiceLinks: true", "read as settings"),
    Mistake(
        "base/registry.yaml", "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 10", "is killed"
    ),
    Mistake("base/gateway.yaml", "HUB_STORE_URL", "HUB_DIRECTORY_URL", "does not read HUB_DIRECTORY_URL"),
    Mistake("base/gateway.yaml", "key: HUB_API_KEYS", "key: API_KEYS", "there is no 'API_KEYS' among the secrets"),
    Mistake("base/gateway.yaml", "component: gateway }\n  ports", "component: gatway }\n  ports", "leads to []"),
    Mistake("base/gateway.yaml", "runAsUser: 10001", "runAsUser: 0", "may run as root"),
    Mistake("base/gateway.yaml", "{ path: /health/ready", "{ path: /health/redy", "no route without a credential"),
    Mistake("base/gateway.yaml", "image: hub", "image: hub\n          imagePullPolcy: Always", "imagePullPolcy"),
    Mistake("base/digits.yaml", "/health/ready", "/ping", "/ping, which is no route without a credential"),
    Mistake("base/digits.yaml", "examples.digits:Digits", "examples.digits:Digit", "has no model Digit"),
    Mistake("base/digits.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 35", "58 s"),
    Mistake("base/digits.yaml", "status.podIP", "status.hostIP", "has no status.hostIP"),
    Mistake("base/digits.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "write to its image"),
    Mistake("base/digits.yaml", "drop: [ALL]", "drop: []", "may gain privileges"),
    Mistake("base/digits.yaml", "path: /health/ready, port: http", "path: /health/ready, port: htp", "port htp"),
    Mistake("base/digits.yaml", "timeoutSeconds: 3", "timeoutSeconds: 1", "gives up before"),
    Mistake("base/digits.yaml", "mountPath: /tmp", "mountPaht: /tmp", "mountPath' is a required"),
    Mistake(
        "base/digits.yaml",
        "labels: { app.kubernetes.io/name: hub, ",
        "labels: { app: hub, ",
        "labelled as what it does not run",
    ),
    Mistake("base/model-a.yaml", '"8080"', '"0"', "listens on 0"),
    Mistake("base/model-a.yaml", "hub/model: ModelA", "hub/model: Modela", "runs ModelA"),
    Mistake("base/disruption-budgets.yaml", "hub/model: ModelA", "hub/model: Digits", "disruption budgets"),
    Mistake("base/disruption-budgets.yaml", "maxUnavailable: 1", "maxUnavailable: 0", "being drained"),
    Mistake("base/network-policies.yaml", "port: 8080", "port: 8081", "registry does not reach"),
    Mistake("base/network-policies.yaml", "port: 5672", "port: 5673", "does not reach rabbitmq at port 5672"),
    Mistake("base/network-policies.yaml", "name: monitoring", "name: prometheus", "monitoring does not reach"),
    Mistake(
        "base/network-policies.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Egress]", "anywhere reaches"
    ),
    Mistake("base/network-policies.yaml", "podSelector: {}", "podSelctor: {}", "podSelctor"),
    Mistake("base/kustomization.yaml", "HUB_LOG_FORMAT", "HUB_LOG_FROMAT", "did you mean HUB_LOG_FORMAT"),
    Mistake(
        "base/kustomization.yaml", "http://registry:8001", "http://registry:8000", "leads to port 8000 of registry"
    ),
    Mistake("base/kustomization.yaml", "http://registry:8001", "http://regstry:8001", "looks for the registry"),
    Mistake("base/kustomization.yaml", "  - digits.yaml\n", "", "digits.yaml is in no kustomization"),
    Mistake("base/kustomization.yaml", "digits.yaml", "digit.yaml", "base has no digit.yaml"),
    Mistake("base/kustomization.yaml", "10.0.0.0/8,", "10.0.0.0/33,", "does not appear to be an IPv4"),
    Mistake("components/autoscaling/scaled-objects.yaml", "queueName: Digits", "queueName: digits", "another model"),
    Mistake("components/autoscaling/scaled-objects.yaml", "minReplicaCount: 1", "minReplicaCount: 0", "goes to zero"),
    Mistake("components/autoscaling/scaled-objects.yaml", "maxReplicaCount", "maxReplicasCount", "KEDA does not know"),
    Mistake("components/autoscaling/scaled-objects.yaml", 'value: "20"', "value: 20", "takes texts only"),
    Mistake(
        "components/autoscaling/scaled-objects.yaml", "queueName:", "queue: x, queueName:", "does not know ['queue']"
    ),
    Mistake("components/autoscaling/scaled-objects.yaml", "mode: QueueLength", "mode: MessageRate", "over AMQP"),
    Mistake(
        "components/autoscaling/scaled-objects.yaml",
        "scaleTargetRef: { name: digits",
        "scaleTargetRef: { name: digit",
        "no model",
    ),
    Mistake(
        "components/autoscaling/scaled-objects.yaml", "periodSeconds: 60", "periodSeconds: 15", "faster than they drain"
    ),
    Mistake(
        "components/autoscaling/scaled-objects.yaml",
        "authenticationRef: { name: rabbitmq",
        "authenticationRef: { name: rabbit",
        "no Trigger",
    ),
    Mistake("components/autoscaling/trigger-authentication.yaml", "HUB_BROKER_URL", "BROKER_URL", "no BROKER_URL"),
    Mistake(
        "components/autoscaling/kustomization.yaml", "path: /spec/replicas", "path: /spec/replica", "does not take"
    ),
    Mistake("components/autoscaling/kustomization.yaml", "component=instance", "component=model", "nothing is a"),
    Mistake(
        "components/monitoring/pod-monitor.yaml", "replacement: hub-instances", "replacement: hub-instance", "the jobs"
    ),
    Mistake("components/monitoring/pod-monitor.yaml", "path: /metrics", "path: /metric", "has no /metric"),
    Mistake("components/monitoring/pod-monitor.yaml", "key: HUB_TOKEN", "key: token", "Prometheus shows"),
    Mistake("overlays/trial/make-secrets.sh", "redis://redis:6379", "redis://reddis:6379", "which is no Service"),
    Mistake("overlays/trial/kustomization.yaml", "name: hub, newTag", "name: hubs, newTag", "which version of hub"),
    Mistake(
        "overlays/trial/kustomization.yaml", "disableNameSuffixHash: true", "disableNameSuffixHash: false", "a hash"
    ),
    Mistake("overlays/trial/rabbitmq.yaml", "containerPort: 5672", "containerPort: 5671", "which is not 5672"),
    Mistake(
        "overlays/trial/redis.yaml", "app.kubernetes.io/name: hub", "app.kubernetes.io/name: hubs", "not reach redis"
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_found(mistake: Mistake, folder: Path) -> None:
    mistake.make(folder)
    if mistake.file.endswith("make-secrets.sh"):
        make_secrets(folder)

    found = list(complaints(folder))

    assert any(mistake.said in complaint for complaint in found), found
