"""deploy/k8s/dask: built by kustomize, held to Kubernetes's schemas and to what Dask asks for."""

from __future__ import annotations

import json
import subprocess
import sys

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.deploy.test_k8s import FOLDER, VERSIONS, Objects, build

pytestmark = pytest.mark.real

LABELS = {"app.kubernetes.io/name": "cairn", "app.kubernetes.io/component": "dask"}


@pytest.fixture(scope="module")
def built() -> Objects:
    return build(FOLDER / "dask")


def pods(objects: Objects) -> Objects:
    return [thing["spec"]["template"] for thing in objects if thing["kind"] == "Deployment"]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_object_fits_the_schema(built: Objects, version: str) -> None:
    for thing in built:
        kubernetes_validate.validate(json.loads(json.dumps(thing)), version, strict=True)


def test_the_service_leads_to_the_scheduler_and_the_workers_ask_for_it(built: Objects) -> None:
    [service] = [thing for thing in built if thing["kind"] == "Service"]
    [led] = [
        pod
        for pod in pods(built)
        if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    ]
    [container] = led["spec"]["containers"]
    assert container["args"][:2] == ["dask", "scheduler"]
    [port] = service["spec"]["ports"]
    assert container["ports"] == [{"name": port["targetPort"], "containerPort": port["port"]}]
    address = f"tcp://{service['metadata']['name']}:{port['port']}"
    assert any(address in pod["spec"]["containers"][0]["args"] for pod in pods(built))


def test_a_worker_grows_less_than_its_pod_may(built: Objects) -> None:
    [worker] = [pod for pod in pods(built) if "worker" in pod["spec"]["containers"][0]["args"]]
    [container] = worker["spec"]["containers"]
    [limit] = [one for one in container["args"] if one.startswith("--memory-limit=")]
    mebibytes = int(limit.removeprefix("--memory-limit=").removesuffix("MiB"))
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert 4096 * 0.8 < mebibytes < 4096 - 400


def test_only_the_job_and_the_cluster_itself_reach_it(built: Objects) -> None:
    [policy] = [
        thing["spec"]
        for thing in built
        if thing["kind"] == "NetworkPolicy" and "Ingress" in thing["spec"]["policyTypes"]
    ]
    assert policy["podSelector"]["matchLabels"] == LABELS
    for pod in pods(built):
        assert LABELS.items() <= pod["metadata"]["labels"].items()
    others = {**LABELS, "app.kubernetes.io/component": "training"}
    reach = [rule["from"][0]["podSelector"]["matchLabels"] for rule in policy["ingress"]]
    assert reach == [LABELS, others]


def test_each_pod_is_restricted(built: Objects) -> None:
    for pod in pods(built):
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        [container] = pod["spec"]["containers"]
        locked = container["securityContext"]
        assert locked["readOnlyRootFilesystem"] is True
        assert locked["allowPrivilegeEscalation"] is False
        assert locked["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.slow
def test_dask_takes_the_arguments(built: Objects) -> None:
    for pod in pods(built):
        _, role, *arguments = pod["spec"]["containers"][0]["args"]
        command = [sys.executable, "-m", "dask", role]
        help_text = subprocess.run(
            [*command, "--help"], capture_output=True, text=True, check=True, timeout=120
        ).stdout
        for argument in arguments:
            if argument.startswith("--"):
                assert argument.split("=")[0].replace("--no-", "") in help_text
