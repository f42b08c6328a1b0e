"""The objects around the pods: Services, disruption budgets, network policies, KEDA, Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from hub.cli.load import load_model
from hub.settings.model import ModelSettings
from tests.deploy.kubernetes_pods import Pod, ours, pods, process
from tests.deploy.kustomization import Built, Object

KEDA_SPEC: Final = {
    *("scaleTargetRef", "triggers", "pollingInterval", "cooldownPeriod", "initialCooldownPeriod", "idleReplicaCount"),
    *("minReplicaCount", "maxReplicaCount", "advanced", "fallback"),
}
KEDA_RABBITMQ: Final = {
    *("host", "protocol", "mode", "value", "activationValue", "queueName", "vhostName", "unsafeSsl"),
}
"""Fields of KEDA's ScaledObject and of its trigger `rabbitmq` over AMQP, from its CRD and scaler of August 2026."""

SERVERS: Final = {"rabbitmq": 5672, "redis": 6379}


def check_schemas(built: Built) -> Iterator[str]:
    """Every object of Kubernetes' own kinds against the schema of its kind, which has all fields."""
    for it in built.objects:
        if complaint := _misfit(json.dumps(it)):
            yield f"{it['kind']} {it['metadata']['name']}: {complaint}"


@cache
def _misfit(text: str) -> str:
    """Why an object does not match the schema of its kind; cached, because a validation takes 0.1 s."""
    it = json.loads(text)
    try:
        kubernetes_validate.validate(it, "1.37", strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        known = it["apiVersion"] in ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
        return "" if known else f"there is no {it['kind']} in {it['apiVersion']}"
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


def selects(selector: Mapping[str, Any], pod: Pod) -> bool:
    assert selector.keys() <= {"matchLabels"}
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= pod.labels.items()


def check_services(built: Built) -> Iterator[str]:
    """Each Service selects pods and one of their ports, under the port number in hub's settings."""
    for service in built.of("Service"):
        name = service["metadata"]["name"]
        behind = [pod for pod in pods(built) if service["spec"]["selector"].items() <= pod.labels.items()]
        if [pod.name for pod in behind] != [name]:
            yield f"the Service {name} leads to {[pod.name for pod in behind]}"
            continue
        for port in service["spec"]["ports"]:
            if behind[0].ports.get(port["targetPort"]) != port["port"]:
                yield f"the Service {name} leads to port {port['targetPort']}, which is not {port['port']}"
    for variable, value in {**built.configs["hub"], **built.secrets.get("hub", {})}.items():
        url = urlsplit(value if variable.endswith("_URL") else "")
        if url.hostname and (found := built.one("Service", url.hostname)) is None and "." not in url.hostname:
            yield f"{variable} leads to {url.hostname}, which is no Service"
        elif url.hostname and found and url.port not in [port["port"] for port in found["spec"]["ports"]]:
            yield f"{variable} leads to port {url.port} of {url.hostname}"


def check_disruption_budgets(built: Built) -> Iterator[str]:
    """One for each Deployment, which allows draining a node."""
    budgets = list(built.of("PodDisruptionBudget"))
    for pod in ours(built):
        its = [budget for budget in budgets if selects(budget["spec"]["selector"], pod)]
        if [budget["metadata"]["name"] for budget in its] != [pod.name]:
            yield f"{pod.name} has {len(its)} disruption budgets"
    for budget in budgets:
        if budget["spec"].get("maxUnavailable") != 1:
            yield f"the budget {budget['metadata']['name']} may keep a node from being drained"


def check_flows(built: Built) -> Iterator[str]:
    """Required connections are allowed, and the listed others are not."""
    by_name = {pod.name: pod for pod in pods(built)}
    instances = [pod for pod in ours(built) if pod.container["args"][0] == "model"]
    registry, gateway = by_name["registry"], by_name["gateway"]
    wanted: list[tuple[Pod | str, Pod, int]] = [(gateway, registry, 8001), ("anywhere", gateway, 8000)]
    for instance in instances:
        wanted += [(instance, registry, 8001), (registry, instance, 8080), ("monitoring", instance, 8080)]
    wanted += [("monitoring", registry, 8001), ("monitoring", gateway, 8000)]
    wanted += [(pod, by_name[name], port) for pod in ours(built) for name, port in SERVERS.items() if name in by_name]
    unwanted: list[tuple[Pod | str, Pod, int]] = [(gateway, instance, 8080) for instance in instances]
    unwanted += [("anywhere", registry, 8001), ("anywhere", instances[0], 8080), (instances[0], instances[-1], 8080)]
    unwanted += [("anywhere", by_name[name], port) for name, port in SERVERS.items() if name in by_name]
    for source, target, port in wanted:
        if not _passes(built, source, target, port):
            yield f"{_called(source)} does not reach {target.name} at port {port}"
    for source, target, port in unwanted:
        if _passes(built, source, target, port):
            yield f"{_called(source)} reaches {target.name} at port {port}"


def _called(source: Pod | str) -> str:
    return source if isinstance(source, str) else source.name


def _passes(built: Built, source: Pod | str, target: Pod, port: int) -> bool:
    policies = [it["spec"] for it in built.of("NetworkPolicy")]
    incoming = [it for it in policies if "Ingress" in it["policyTypes"] and selects(it["podSelector"], target)]
    enters = not incoming or any(
        _rule_has(rule, "from", source, port) for policy in incoming for rule in policy.get("ingress", ())
    )
    if isinstance(source, str):
        return enters
    outgoing = [it for it in policies if "Egress" in it["policyTypes"] and selects(it["podSelector"], source)]
    leaves = not outgoing or any(
        _rule_has(rule, "to", target, port) for policy in outgoing for rule in policy.get("egress", ())
    )
    return enters and leaves


def _rule_has(rule: Mapping[str, Any], direction: str, peer: Pod | str, port: int) -> bool:
    if port not in [it["port"] for it in rule["ports"]]:
        return False
    if direction not in rule:
        return True
    for one in rule[direction]:
        namespace = one.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
        if isinstance(peer, str):
            if namespace == peer:
                return True
        elif namespace is None and selects(one["podSelector"], peer):
            return True
    return False


def check_autoscaling(built: Built) -> Iterator[str]:
    """KEDA scales by the queue of the model of the Deployment, and not to zero."""
    models = {pod.name: pod for pod in ours(built) if pod.container["args"][0] == "model"}
    scaled = list(built.of("ScaledObject"))
    if scaled and sorted(it["spec"]["scaleTargetRef"]["name"] for it in scaled) != sorted(models):
        yield "not every model is scaled, or what is scaled is no model"
        return
    for it in scaled:
        pod = models[it["spec"]["scaleTargetRef"]["name"]]
        yield from (f"{it['metadata']['name']}: {text}" for text in _scaled(it["spec"], pod, built))


def _scaled(spec: Mapping[str, Any], pod: Pod, built: Built) -> Iterator[str]:
    if unknown := spec.keys() - KEDA_SPEC:
        yield f"KEDA does not know {sorted(unknown)}"
        return
    if "replicas" in pod.owner["spec"]:
        yield "its Deployment says how many, too"
    if not 1 <= spec.get("minReplicaCount", 0) <= spec["maxReplicaCount"]:
        yield "goes to zero, where nothing would ever wait"
    it = process(pod, built)
    assert isinstance(it.settings, ModelSettings)
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    if (
        min(down["stabilizationWindowSeconds"], *(policy["periodSeconds"] for policy in down["policies"]))
        < it.stop_bound
    ):
        yield "takes instances away faster than they drain"
    (trigger,) = spec["triggers"]
    yield from _trigger(trigger, load_model(it.target).name, built)


def _trigger(trigger: Mapping[str, Any], model: str, built: Built) -> Iterator[str]:
    metadata = trigger["metadata"]
    if trigger["type"] != "rabbitmq" or (unknown := metadata.keys() - KEDA_RABBITMQ):
        yield f"the trigger {trigger['type']} does not know {sorted(unknown)}"
        return
    if not all(isinstance(value, str) for value in metadata.values()):
        yield "KEDA takes texts only"
    if (metadata["protocol"], metadata["mode"]) != ("amqp", "QueueLength") or float(metadata["value"]) <= 0:
        yield "asks what RabbitMQ does not tell over AMQP"
    if metadata["queueName"] != model:
        yield f"looks at the queue {metadata['queueName']} of another model"
    authentication = built.one("TriggerAuthentication", trigger["authenticationRef"]["name"])
    if authentication is None:
        yield f"there is no TriggerAuthentication {trigger['authenticationRef']['name']}"
        return
    for reference in authentication["spec"]["secretTargetRef"]:
        if (reference["parameter"], reference["key"]) != ("host", "HUB_BROKER_URL"):
            yield f"shows RabbitMQ {reference}"
        if reference["key"] not in built.secrets.get(reference["name"], {}):
            yield f"there is no {reference['key']} among the secrets"


def check_monitoring(built: Built, prometheus: Path) -> Iterator[str]:
    """The Prometheus operator scrapes every pod of hub, under the job names of the alerts."""
    jobs = {job["job_name"] for job in yaml.safe_load(prometheus.read_text())["scrape_configs"]}
    for monitor in built.of("PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        made: set[str] = set()
        for pod in ours(built):
            if not selects(monitor["spec"]["selector"], pod):
                yield f"{pod.name} is not scraped"
            if endpoint["port"] not in pod.ports or endpoint["path"] not in process(pod, built).guarded:
                yield f"{pod.name} has no {endpoint['path']} at port {endpoint['port']}"
            made.add(_job(endpoint, pod))
        if made != jobs:
            yield f"the jobs are {sorted(made)}, not {sorted(jobs)}"
        credentials = endpoint["authorization"]["credentials"]
        if credentials["key"] != "HUB_TOKEN" or "HUB_TOKEN" not in built.secrets.get(credentials["name"], {}):
            yield f"Prometheus shows {credentials}"


def _job(endpoint: Object, pod: Pod) -> str:
    for rule in endpoint["relabelings"]:
        labels = {f"__meta_kubernetes_pod_label_{re.sub(r'[^a-z]', '_', name)}": it for name, it in pod.labels.items()}
        match = re.fullmatch(rule["regex"], ";".join(labels.get(name, "") for name in rule["sourceLabels"]))
        if match and rule["targetLabel"] == "job":
            return str(rule["replacement"].replace("$0", match.group()))
    return ""
