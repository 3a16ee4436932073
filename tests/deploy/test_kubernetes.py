"""The Kubernetes resources: valid by schema, one with another, and with what the services really are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import CollectorRegistry

from benchmarks.figures import ROOT
from benchmarks.operations.dockerfile import read_image
from camera_ingest.settings import IngestSettings
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.settings import EncoderSettings
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.settings import GallerySettings
from gateway_svc.settings import GatewaySettings
from tessera.chassis.settings import load_settings

FOLDER = ROOT / "deploy" / "kubernetes"
KINDS = ("base", "overlays/cuda", "overlays/sentinel", "overlays/cluster")
RELEASES = ("1.29", "1.32", "1.34")
SETTINGS = {
    "encoder": EncoderSettings,
    "gallery": GallerySettings,
    "ingest": IngestSettings,
    "gateway": GatewaySettings,
}
_WORKLOADS = ("Deployment", "StatefulSet", "Job")


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("**/*.yaml")):
        if path.parent.name == "adapter" or path.name == "targets.yaml":
            continue
        for number, document in enumerate(yaml.safe_load_all(path.read_text(encoding="utf-8"))):
            if document.get("kind") != "Kustomization":
                yield f"{path.stem}-{number}-{document['kind']}", document


_DOCUMENTS = dict(_documents())


@cache
def _built(kind: str) -> tuple[dict[str, Any], ...]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here: what Kustomize makes of the overlays stays unproved")
    made = subprocess.run(["kubectl", "kustomize", str(FOLDER / kind)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return tuple(yaml.safe_load_all(made.stdout))


def _of(documents: tuple[dict[str, Any], ...], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == kind}


def _pods(documents: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    return {
        name: each["spec"]["template"]["spec"] for kind in _WORKLOADS for name, each in _of(documents, kind).items()
    }


def _environ(pod: Mapping[str, Any]) -> dict[str, str]:
    """What a container would find: variables of secrets and of the pod filled with something of their kind."""
    told: dict[str, str] = {}
    for entry in pod["containers"][0].get("env", ()):
        source = entry.get("valueFrom", {})
        text = entry.get("value", "2" if "resourceFieldRef" in source else "10.0.0.7")
        told[entry["name"]] = re.sub(r"\$\(([A-Z_]+)\)", lambda found: told[found[1]], text)
    return told


# ---- by schema


@pytest.mark.parametrize("release", RELEASES)
def test_every_resource_fits_its_schema(release: str) -> None:
    """Each document as it lies in the repository, strictly: an unknown field is an error."""
    assert len(_DOCUMENTS) > 20
    for document in _DOCUMENTS.values():
        kubernetes_validate.validate(document, release, strict=True)


def test_a_misspelt_field_is_found() -> None:
    """The schema check is one that can fail."""
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.32", strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_kustomize_makes_fits_its_schema(kind: str) -> None:
    """The base and each overlay, built."""
    for document in _built(kind):
        kubernetes_validate.validate(document, "1.32", strict=True)


# ---- with what the services are


@pytest.mark.parametrize("kind", KINDS)
def test_each_service_takes_its_environment(kind: str) -> None:
    """Image and pod together set only what the service knows, to values that it allows."""
    pods = _pods(_built(kind))
    for name, settings in SETTINGS.items():
        environ = {**read_image(name).final.environ, **_environ(pods[name])}
        loaded = load_settings(settings, f"TESSERA_{name.upper()}_", environ)
        assert loaded.host == "0.0.0.0"  # type: ignore[attr-defined]
        grace_s = pods[name]["terminationGracePeriodSeconds"]
        assert grace_s > loaded.drain_s + 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_may_nearly_nothing(kind: str) -> None:
    """No root, no capabilities, nothing to write to, limits, no service account, and none of the variables that
    Kubernetes makes of services: TESSERA_ENCODER_PORT would be one."""
    for name, pod in _pods(_built(kind)).items():
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}


def test_a_service_that_waits_for_its_store_is_not_restarted() -> None:
    """Liveness asks whether the process answers (`live`), readiness whether it takes work, at its own port."""
    pods = _pods(_built("base"))
    for name in SETTINGS:
        (container,) = pods[name]["containers"]
        port = read_image(name).final.ports[0]
        assert container["livenessProbe"]["grpc"] == {"port": port, "service": "live"}
        assert container["startupProbe"]["grpc"] == {"port": port, "service": "live"}
        assert container["readinessProbe"]["grpc"] == {"port": port}
        assert {each["containerPort"] for each in container["ports"]} >= set(read_image(name).final.ports)


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_is_called_may_be_called(kind: str) -> None:
    """For each address in a pod's environment there is a Service at that port, the caller's policy lets it out and the
    callee's policy lets it in."""
    documents = _built(kind)
    services, policies = _of(documents, "Service"), _of(documents, "NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    calls = 0
    for name in SETTINGS:
        for value in _environ(_pods(documents)[name]).values():
            for host, port in re.findall(r"(?:^|@|,|///)(?:[a-z]+-\d\.)?([a-z]+):(\d+)", value):
                assert int(port) in {each["port"] for each in services[host]["spec"]["ports"]}
                assert _lets(policies[name]["spec"]["egress"], "to", host, int(port)), (name, host)
                assert _lets(policies[host]["spec"]["ingress"], "from", name, int(port)), (name, host)
                calls += 1
    assert calls >= 8


def _lets(rules: list[dict[str, Any]], side: str, who: str, port: int) -> bool:
    selector = {"matchLabels": {"app.kubernetes.io/name": who}}
    return any(
        {"podSelector": selector} in rule[side] and port in {each["port"] for each in rule.get("ports", ())}
        for rule in rules
    )


def test_selectors_find_pods() -> None:
    """Services, budgets, autoscalers and policies name workloads that are there."""
    for kind in KINDS:
        documents = _built(kind)
        names = set(_pods(documents))
        for document in documents:
            spec = document.get("spec", {})
            for selector in (spec.get("selector"), spec.get("podSelector")):
                labels = (selector or {}).get("matchLabels", selector or {})
                assert labels.get("app.kubernetes.io/name", "encoder") in names
            if document["kind"] == "HorizontalPodAutoscaler":
                target = spec["scaleTargetRef"]
                assert target["name"] in _of(documents, target["kind"])


def test_autoscalers_ask_for_what_the_adapter_makes_of_real_metrics() -> None:
    """Each metric that an autoscaler names is made by a rule of the adapter, and each series of the rules is one that
    the services tell, with the labels that the rules ask for."""
    rules = yaml.safe_load((FOLDER / "adapter" / "rules.yaml").read_text(encoding="utf-8"))["rules"]
    made = {rule["name"]["as"] for rule in rules}
    asked = {
        metric["pods"]["metric"]["name"]
        for scaler in _of(_built("base"), "HorizontalPodAutoscaler").values()
        for metric in scaler["spec"]["metrics"]
    }
    assert asked == made
    encoder, gallery = CollectorRegistry(), CollectorRegistry()
    EncoderMetrics(encoder).stage_seconds.labels(stage="queue")
    GalleryMetrics(gallery)
    metrics = (metric for registry in (encoder, gallery) for metric in registry.collect())
    told = {sample.name: set(sample.labels) for metric in metrics for sample in metric.samples}
    for rule in rules:
        for series, labels in re.findall(r"(tessera_[a-z_]+)\{([^}]*)\}", rule["metricsQuery"]):
            assert series in told
            assert {each.partition("=")[0] for each in labels.split(",") if "=" in each} <= told[series]


def test_the_gpu_overlay_asks_for_one_and_goes_where_one_is() -> None:
    """One GPU a pod, on labelled nodes, in the image that has CUDA; a new pod waits for an old one's GPU."""
    deployment = _of(_built("overlays/cuda"), "Deployment")["encoder"]["spec"]
    pod = deployment["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["containers"][0]["image"].startswith("tessera/encoder-cuda:")
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_nothing_is_taken_away_before_its_successor_works() -> None:
    """Deployments start a new pod first; budgets let one of each go at a time."""
    documents = _built("base")
    for deployment in _of(documents, "Deployment").values():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budgets = _of(documents, "PodDisruptionBudget")
    assert set(budgets) == {"encoder", "gallery", "ingest", "gateway", "store"}
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets.values())


def test_no_secret_is_written_down() -> None:
    """Passwords and keys come from Secrets that somebody makes; none lies in the repository."""
    for path in Path(ROOT / "deploy").rglob("*.yaml"):
        assert "kind: Secret" not in path.read_text(encoding="utf-8")
