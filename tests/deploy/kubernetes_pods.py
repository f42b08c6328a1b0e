"""The pods of deploy/kubernetes: commands, probes and permissions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from hub.cli.load import load_model
from hub.model.instance.health_reporter import HEALTH_TIMEOUT
from hub.settings.model import ModelSettings
from hub.settings.registry import RegistrySettings
from tests.deploy.kustomization import Built, Object
from tests.deploy.program import Process, parse

HUB: Final = "hub"
_POD_IP: Final = "10.1.2.3"
_FIELDS: Final = {"status.podIP": _POD_IP}
_READY: Final = "/health/ready"
_LIVE: Final = "/health/live"
_PROBES: Final[Mapping[str, Mapping[str, str]]] = {
    "registry": {"startupProbe": _READY, "readinessProbe": _READY, "livenessProbe": _LIVE},
    "gateway": {"startupProbe": _READY, "readinessProbe": _LIVE, "livenessProbe": _LIVE},  # docs/decisions/152
    "model": {"startupProbe": _LIVE, "readinessProbe": _READY, "livenessProbe": _LIVE},
}
_RESTRICTED: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class Missing(Exception):
    """A pod refers to an object that does not exist."""


@dataclass(frozen=True)
class Pod:
    """The pods of a Deployment or a StatefulSet."""

    owner: Object

    @property
    def name(self) -> str:
        return str(self.owner["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        return self.owner["spec"]["template"]["metadata"]["labels"]  # type: ignore[no-any-return]

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.owner["spec"]["template"]["spec"]  # type: ignore[no-any-return]

    @property
    def container(self) -> Mapping[str, Any]:
        (container,) = self.spec["containers"]
        return container  # type: ignore[no-any-return]

    @property
    def ports(self) -> Mapping[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def ours(self) -> bool:
        return str(self.container["image"]).partition(":")[0] == HUB


def pods(built: Built) -> list[Pod]:
    return [Pod(owner) for owner in built.of("Deployment", "StatefulSet")]


def ours(built: Built) -> list[Pod]:
    return [pod for pod in pods(built) if pod.ours]


def process(pod: Pod, built: Built) -> Process:
    """The process of a pod of hub.

    Raises:
        Exception: Whatever hub says of its command line and its environment.
        Missing: A variable comes from a ConfigMap, a Secret or a field that is not there.
    """
    shared: dict[str, str] = {}
    for source in pod.container["envFrom"]:
        name = source["configMapRef"]["name"]
        if name not in built.configs:
            raise Missing(f"there is no ConfigMap {name}")
        shared |= built.configs[name]
    environment = {variable["name"]: _value(variable, built) for variable in pod.container["env"]}
    return _process(tuple(pod.container["args"]), tuple(environment.items()), tuple(shared.items()))


@cache
def _process(
    command: tuple[str, ...], environment: tuple[tuple[str, str], ...], shared: tuple[tuple[str, str], ...]
) -> Process:
    return parse(command, dict(environment), shared=dict(shared))


def _value(variable: Mapping[str, Any], built: Built) -> str:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"]
    if "fieldRef" in source:
        if source["fieldRef"]["fieldPath"] not in _FIELDS:
            raise Missing(f"a pod has no {source['fieldRef']['fieldPath']}")
        return _FIELDS[source["fieldRef"]["fieldPath"]]
    reference = source["secretKeyRef"]
    try:
        return built.secrets[reference["name"]][reference["key"]]
    except KeyError as error:
        raise Missing(f"there is no {error} among the secrets") from error


def check_commands(built: Built) -> Iterator[str]:
    """Every flag and variable of hub's own pods. The other checks need this one to find nothing."""
    for pod in ours(built):
        try:
            process(pod, built)
        except Exception as error:  # noqa: BLE001 - whatever is said is what is wrong
            yield f"{pod.name}: {error}"


def check_hub(built: Built) -> Iterator[str]:
    """hub's own pods: ports, probes, times, the model that they run."""
    (registry, *_) = (process(pod, built).settings for pod in ours(built) if pod.container["args"][0] == "registry")
    assert isinstance(registry, RegistrySettings)
    for pod in ours(built):
        it = process(pod, built)
        for variable in sorted(it.unknown):
            yield f"{pod.name}: does not read {variable}"
        yield from (f"{pod.name}: {text}" for text in (*_listening(pod, it), *_probes(pod, it), *_time(pod, it)))
        if isinstance(it.settings, ModelSettings):
            yield from (f"{pod.name}: {text}" for text in _instance(pod, it, it.settings, registry))


def _listening(pod: Pod, it: Process) -> Iterator[str]:
    if it.loopback or not it.settings.token:
        yield "does not listen for the others under the shared token"
    if pod.ports != {"http": it.port}:
        yield f"tells of the ports {dict(pod.ports)} and listens on {it.port}"


def _probes(pod: Pod, it: Process) -> Iterator[str]:
    for kind, path in _PROBES[pod.container["args"][0]].items():
        probe = pod.container.get(kind, {})
        asked = probe.get("httpGet", {})
        if asked.get("path") != path:
            yield f"the {kind} asks {asked.get('path')}, not {path}"
        if it.guarded.get(asked.get("path", ""), True):
            yield f"the {kind} asks {asked.get('path')}, which is no route without a credential"
        if asked.get("port") not in pod.ports:
            yield f"the {kind} asks at port {asked.get('port')}, which the pod does not have"
        if kind == "readinessProbe" and probe.get("timeoutSeconds", 1) <= HEALTH_TIMEOUT:
            yield "the readinessProbe gives up before the model has said how it is"


def _time(pod: Pod, it: Process) -> Iterator[str]:
    grace = pod.spec["terminationGracePeriodSeconds"]
    before = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if grace < before + it.stop_bound:
        yield f"is killed after {grace} s and may need {before + it.stop_bound:g} s to stop"


def _instance(pod: Pod, it: Process, settings: ModelSettings, registry: RegistrySettings) -> Iterator[str]:
    if settings.instance_host != _POD_IP:
        yield f"listens on {settings.instance_host}, not on the pod's own address"
    if settings.ping_period != registry.ping_period:
        yield f"expects a ping every {settings.ping_period:g} s, and the registry pings every {registry.ping_period:g} s"
    if urlsplit(settings.registry_url).hostname != "registry":
        yield f"looks for the registry at {settings.registry_url}"
    try:
        model = load_model(it.target)
    except Exception as error:  # noqa: BLE001 - whatever hub says is what is wrong
        yield str(error)
    else:
        if pod.labels.get("hub/model") != model.name:
            yield f"is labelled {pod.labels.get('hub/model')} and runs {model.name}"


def check_all_pods(built: Built) -> Iterator[str]:
    """Every pod has its service account, no more permissions than it needs, and limits."""
    for pod in pods(built):
        yield from (f"{pod.name}: {text}" for text in _confined(pod))
        if pod.owner["spec"]["selector"]["matchLabels"] != pod.labels:
            yield f"{pod.name}: does not own its own pods"
        if pod.labels.get("app.kubernetes.io/name") != pod.container["image"].partition(":")[0]:
            yield f"{pod.name}: is labelled as what it does not run"
        if ":" not in pod.container["image"]:
            yield f"{pod.name}: no overlay says which version of {pod.container['image']}"
        resources = pod.container.get("resources", {})
        if "memory" not in resources.get("limits", {}) or {"cpu", "memory"} - resources.get("requests", {}).keys():
            yield f"{pod.name}: takes what it likes of the node"
        mounted = {mount["name"] for mount in pod.container.get("volumeMounts", ())}
        claims = [claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", ())]
        if mounted != {volume["name"] for volume in pod.spec.get("volumes", ())} | set(claims):
            yield f"{pod.name}: mounts {sorted(mounted)}"


def _confined(pod: Pod) -> Iterator[str]:
    if pod.spec.get("enableServiceLinks", True):
        yield "gets variables for each Service, which may be read as settings"
    if pod.spec.get("automountServiceAccountToken", True):
        yield "gets a token for the API of Kubernetes"
    context = pod.spec.get("securityContext", {})
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        yield "may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "may call what it likes of the kernel"
    own = pod.container.get("securityContext", {})
    if any(own.get(name) != value for name, value in _RESTRICTED.items()):
        yield "may gain privileges"
    if pod.ours and not own.get("readOnlyRootFilesystem"):
        yield "may write to its image"
