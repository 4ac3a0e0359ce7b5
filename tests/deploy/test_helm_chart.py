"""The Helm chart, rendered by Helm itself and held against Kubernetes' and the operators' schemas."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from server.cli import app
from tests.clients.installing import NotInstallableError
from tests.deploy.helm import CHART, Helm, HelmError, Manifest
from tests.server.live import LiveServer

pytestmark = pytest.mark.slow

#: values that real deployments would have, by what they are for
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "cpu": {"image": {"tag": "cpu"}, "gpu": {"enabled": False}, "modelCache": {"enabled": False}},
    "four GPUs": {
        "model": {"name": "org/model", "servedNames": ["model", "other"]},
        "engine": {"dataParallelSize": 2, "tensorParallelSize": 2, "extraArgs": ["--max-num-seqs", "128"]},
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "high",
        "extraEnv": [{"name": "NCCL_DEBUG", "value": "WARN"}],
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "models"},
    },
    "keda": {
        "autoscaling": {"kind": "keda", "keda": {"authenticationRef": "prometheus"}},
        "apiKey": {"value": "secret"},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podDisruptionBudget": {"enabled": True},
    },
    "hpa": {
        "autoscaling": {"kind": "hpa"},
        "apiKey": {"existingSecret": "keys", "secretKey": "api"},
        "podMonitor": {"enabled": True},
        "modelCache": {"existingClaim": "models"},
        "hubToken": {"existingSecret": "hub"},
        "serviceAccount": {"create": False, "name": "server"},
    },
    "network policy": {
        "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"team": "apps"}}}]},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"annotations": {"role": "reader"}},
        "modelCache": {"storageClassName": "fast", "accessModes": ["ReadWriteMany"]},
    },
}


@pytest.fixture(scope="module")
def helm(request: pytest.FixtureRequest) -> Helm:
    try:
        return Helm.fetched(request.config.cache.mkdir("deploy"))  # type: ignore[union-attr]
    except NotInstallableError as error:
        pytest.skip(str(error))


def one(manifests: list[Manifest], kind: str) -> Manifest:
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def container(manifests: list[Manifest]) -> dict[str, Any]:
    [only] = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("name", CASES)
def test_helm_and_the_schemas_find_nothing_wrong(helm: Helm, name: str) -> None:
    assert "0 chart(s) failed" in helm.lint(CASES[name])
    assert helm.refused(helm.render(CASES[name])) == ""


def test_the_schemas_would_find_what_is_wrong(helm: Helm) -> None:
    manifests = helm.render(CASES["keda"])
    for kind, path in (
        ("Deployment", "spec.template.spec.containers.0.ports"),
        ("ScaledObject", "spec.triggers.0.type"),
    ):
        broken = copy.deepcopy(manifests)
        target: Any = one(broken, kind)
        *way, last = path.split(".")
        for step in way:
            target = target[int(step)] if step.isdigit() else target[step]
        target[last] = 7
        assert helm.refused(broken) != "", kind
    unknown = copy.deepcopy(manifests)
    one(unknown, "Deployment")["spec"]["template"]["spec"]["restartpolicy"] = "Always"
    assert "restartpolicy" in helm.refused(unknown)


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2},
        {"replicaCount": "two"},
        {"autoscaling": {"kind": "magic"}},
        {"engine": {"dataParallelSize": 0}},
        {"modelCache": {"size": "much"}},
    ],
)
def test_values_that_cannot_be_meant_are_refused(helm: Helm, values: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match=next(iter(values))):
        helm.render(values)


@pytest.mark.parametrize("name", CASES)
def test_the_server_knows_every_flag_and_environment_it_is_given(helm: Helm, name: str) -> None:
    args = container(helm.render(CASES[name]))["args"]
    flags = [argument.partition("=")[0] for argument in args if argument.startswith("--")]
    described = help_of_serve()
    assert {"--host", "--port", "--shutdown-timeout"} <= set(flags)
    assert not [flag for flag in flags if flag not in described]


@cache
def help_of_serve() -> str:
    return CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output


def test_probes_ask_the_right_questions_and_allow_for_an_engine_restart(helm: Helm) -> None:
    server = container(helm.render({"probes": {"livenessSeconds": 120, "startupSeconds": 600}}))
    paths = {probe: server[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {
        "startupProbe": "/health/ready",
        "readinessProbe": "/health/ready",
        "livenessProbe": "/health",
    }
    seconds = {probe: server[probe]["periodSeconds"] * server[probe]["failureThreshold"] for probe in paths}
    assert seconds["livenessProbe"] == 120 and seconds["startupProbe"] == 600 and seconds["readinessProbe"] <= 15
    assert server["ports"] == [{"name": "http", "containerPort": 8000}]


@pytest.mark.parametrize("shutdown", [{}, {"drainSeconds": 600, "preStopSeconds": 20}])
def test_a_pod_outlives_its_drain(helm: Helm, shutdown: dict[str, int]) -> None:
    manifests = helm.render({"shutdown": shutdown})
    grace = one(manifests, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    server = container(manifests)
    [drain] = [float(a.partition("=")[2]) for a in server["args"] if a.startswith("--shutdown-timeout=")]
    before = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    # what the server allows itself beyond the drain: its farewell, and the engine's leaving
    assert grace >= before + drain + 10 and before >= 1


def test_a_pod_gets_a_gpu_for_every_rank_of_every_engine(helm: Helm) -> None:
    assert container(helm.render(CASES["four GPUs"]))["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert container(helm.render({}))["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in container(helm.render(CASES["cpu"]))["resources"]["limits"]


@pytest.mark.parametrize("name", CASES)
def test_nothing_runs_as_root_or_may_write_where_it_need_not(helm: Helm, name: str) -> None:
    manifests = helm.render(CASES[name])
    deployment = one(manifests, "Deployment")["spec"]["template"]["spec"]
    for pod in (deployment, one(manifests, "Pod")["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        for each in pod["containers"] + pod.get("initContainers", []):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    mounts = {mount["mountPath"] for mount in deployment["containers"][0]["volumeMounts"]}
    assert mounts - {"/var/cache/triton"} == {"/models", "/tmp", "/dev/shm"}
    assert ("/var/cache/triton" in mounts) is (name != "cpu")


def test_the_image_runs_as_the_same_user() -> None:
    [uid] = re.findall(r"--uid (\d+)", (CHART.parents[1] / "Dockerfile").read_text())
    template = (CHART / "templates" / "deployment.yaml").read_text()
    assert f"runAsUser: {uid}" in template and f"fsGroup: {uid}" in template


def test_the_key_stays_in_a_secret_and_prometheus_knows_it(helm: Helm) -> None:
    manifests = helm.render(CASES["keda"])
    secret = one(manifests, "Secret")
    assert secret["stringData"] == {"api-key": "secret"}
    assert "secret" not in [v.get("value") for v in container(manifests)["env"]]
    reference = {"name": secret["metadata"]["name"], "key": "api-key"}
    [variable] = [v for v in container(manifests)["env"] if v["name"] == "TIDAR_API_KEY"]
    assert variable["valueFrom"]["secretKeyRef"] == reference
    [endpoint] = one(manifests, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"] == reference and endpoint["path"] == "/metrics"
    assert not [m for m in helm.render(CASES["hpa"]) if m["kind"] == "Secret"]


def test_autoscaling_follows_the_queue_and_owns_the_number_of_pods(helm: Helm) -> None:
    scaled, horizontal = helm.render(CASES["keda"]), helm.render(CASES["hpa"])
    for manifests in (scaled, horizontal):
        assert "replicas" not in one(manifests, "Deployment")["spec"]
    name = one(scaled, "Deployment")["metadata"]["name"]
    trigger = one(scaled, "ScaledObject")["spec"]["triggers"][0]
    query = trigger["metadata"]["query"]
    assert query == f'sum(tidar:num_requests_waiting{{namespace="models", pod=~"{name}-[^-]+-[^-]+"}})'
    assert re.fullmatch(f"{name}-[^-]+-[^-]+", f"{name}-7d9c5b6f4-x2x9z")
    assert trigger["metadata"]["threshold"] == "8"
    [metric] = one(horizontal, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "tidar_num_requests_waiting"
    assert one(helm.render({"replicaCount": 3}), "Deployment")["spec"]["replicas"] == 3


def test_what_autoscaling_asks_for_is_exported(server: LiveServer) -> None:
    assert "tidar:num_requests_waiting" in server.metrics()


def test_selectors_find_the_pods_and_nothing_else(helm: Helm) -> None:
    values = {**CASES["keda"], **CASES["network policy"]}
    manifests = helm.render(values)
    deployment = one(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(manifests, "Service")["spec"]["selector"],
        deployment["spec"]["selector"]["matchLabels"],
        one(manifests, "PodMonitor")["spec"]["selector"]["matchLabels"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    tester = one(manifests, "Pod")["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= tester.items()


def test_every_value_has_a_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def check(given: dict[str, Any], known: dict[str, Any], path: str) -> None:
        for name, value in given.items():
            assert name in known["properties"], f"{path}{name}"
            if isinstance(value, dict) and "properties" in known["properties"][name]:
                check(value, known["properties"][name], f"{path}{name}.")

    check(values, schema, "")
