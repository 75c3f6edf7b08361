"""deploy/k8s: built by kustomize, held to Kubernetes's schemas and to what Cairn promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from service.bento import fetch
from service.process import settings
from service.process.lifecycle import LINGER_SECONDS
from service.process.supervisor import MARGIN_SECONDS
from tests import docker
from tests.conftest import ROOT
from tests.deploy.test_prometheus import CONFIG
from tests.tools import missing

pytestmark = pytest.mark.real

FOLDER = ROOT / "deploy" / "k8s"
BUILT = ("base", "overlays/production", "training")
COMPONENTS = ("monitoring", "keys", "model")
MARK = re.compile(r"^  (?:# )?- (\.\./\.\./components/(\w+)) ", re.MULTILINE)
# The oldest and the newest that the validator knows among those that need no word of caution.
VERSIONS = ("1.27", kubernetes_validate.latest_version())
MONITOR = "ServiceMonitor"
AWS = {"AWS_REGION", "AWS_ENDPOINT_URL"}
PORT = 3000

# The part of the operator's schema that is used here, closed: another key is to be looked up first.
MONITOR_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": MONITOR},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", "endpoints"],
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["matchLabels"],
                    "properties": {
                        "matchLabels": {
                            "type": "object",
                            "minProperties": 1,
                            "additionalProperties": {"type": "string"},
                        },
                    },
                },
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["port"],
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string", "pattern": "^/"},
                            "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                            "scrapeTimeout": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                        },
                    },
                },
            },
        },
    },
}

Objects = list[dict[str, Any]]


@cache
def kustomize() -> tuple[str, ...]:
    """The command that builds a folder; skip the test where there is none, and in CI fail."""
    for command in (("kustomize", "build"), ("kubectl", "kustomize")):
        if shutil.which(command[0]):
            return command
    missing("no kustomize and no kubectl here; one of both, of 2021 or later, builds the manifests")


def build(folder: Path) -> Objects:
    """The objects of a folder."""
    done = subprocess.run(
        [*kustomize(), str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


@cache
def _built(name: str) -> str:
    return json.dumps(build(FOLDER / name))


def built(name: str) -> Objects:
    """The objects of one of our folders."""
    return list(json.loads(_built(name)))


def with_components(folder: Path, *names: str) -> Objects:
    """The objects of the overlay with these of its components switched on, and no other."""
    copied = folder / "k8s"
    shutil.copytree(FOLDER, copied, dirs_exist_ok=True)
    file = copied / "overlays/production/kustomization.yaml"
    text, count = MARK.subn(
        lambda line: f"  {'' if line[2] in names else '# '}- {line[1]} ", file.read_text()
    )
    assert count == len(COMPONENTS)
    file.write_text(text)
    return build(file.parent)


def one(objects: Objects, kind: str) -> dict[str, Any]:
    """The only object of its kind."""
    [match] = [thing for thing in objects if thing["kind"] == kind]
    return match


def pod(objects: Objects) -> dict[str, Any]:
    """The pod that the Deployment or the Job of these objects makes, with its labels."""
    [owner] = [thing for thing in objects if thing["kind"] in {"Deployment", "Job"}]
    return dict(owner["spec"]["template"])


def containers(objects: Objects) -> Objects:
    """Its containers, those that only prepare among them."""
    spec = pod(objects)["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a selector takes what has these labels; an empty one, which takes all, does not."""
    return bool(selector) and selector.items() <= labels.items()


def stops_within(objects: Objects) -> float:
    """How many seconds a pod of the service may take from the order to stop to its end."""
    [container] = containers(objects)
    word, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert word == "sleep"
    values = settings.read_settings(one(objects, "ConfigMap")["data"])
    ends = values.drain_seconds + LINGER_SECONDS + values.graceful_seconds + MARGIN_SECONDS
    return float(seconds) + ends


def validate(thing: dict[str, Any], version: str) -> None:
    """Raise where an object breaks its schema."""
    if thing["kind"] == MONITOR:
        jsonschema.validate(thing, MONITOR_SCHEMA)
    else:
        kubernetes_validate.validate(thing, version, strict=True)


def test_each_file_is_part_of_what_is_built() -> None:
    listed = set()
    for file in FOLDER.rglob("kustomization.yaml"):
        listed |= {file}
        read = yaml.safe_load(file.read_text())
        assert set(read) <= {
            *("apiVersion", "kind", "namespace", "resources", "components"),
            *("images", "configMapGenerator", "patches"),
        }
        listed |= {(file.parent / name).resolve() for name in read.get("resources", ())}
    files = {path for path in FOLDER.rglob("*") if path.is_file()}
    assert files == {path for path in listed if path.is_file()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", BUILT)
def test_each_object_fits_the_schema(name: str, version: str) -> None:
    for thing in built(name):
        validate(thing, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_object_fits_the_schema_with_all_components(tmp_path: Path, version: str) -> None:
    objects = with_components(tmp_path, *COMPONENTS)
    assert {thing["kind"] for thing in objects} == {
        *("ServiceAccount", "ConfigMap", "Service", "Deployment", "NetworkPolicy", MONITOR),
        *("PodDisruptionBudget", "HorizontalPodAutoscaler"),
    }
    for thing in objects:
        validate(thing, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_validators_see_a_key_that_does_not_exist(version: str) -> None:
    for thing in (*built("overlays/production"), *built("training")):
        if "spec" in thing:
            wrong = {**thing, "spec": {**thing["spec"], "replicaz": 2}}
            with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
                validate(wrong, version)


def test_all_of_an_overlay_is_in_its_namespace() -> None:
    for name in ("overlays/production", "training"):
        assert {thing["metadata"]["namespace"] for thing in built(name)} == {"cairn"}


def test_each_selector_takes_the_pods_of_the_service_and_no_others() -> None:
    objects = built("overlays/production")
    spec = pod(objects)["spec"]
    anti = spec["affinity"]["podAntiAffinity"]
    [near] = anti["preferredDuringSchedulingIgnoredDuringExecution"]
    [spread] = spec["topologySpreadConstraints"]
    selectors = [
        one(objects, "Service")["spec"]["selector"],
        one(objects, "Deployment")["spec"]["selector"]["matchLabels"],
        one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        near["podAffinityTerm"]["labelSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ]
    trainer = pod(built("training"))["metadata"]["labels"]
    for selector in selectors:
        assert matches(selector, pod(objects)["metadata"]["labels"])
        assert not matches(selector, trainer)
    assert near["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"


@pytest.mark.parametrize("name", BUILT)
def test_each_pod_is_as_restricted_as_kubernetes_knows_it(name: str) -> None:
    spec = pod(built(name))["spec"]
    shared = spec["securityContext"]
    assert shared["runAsNonRoot"] is True
    assert shared["runAsUser"] == shared["runAsGroup"] == shared["fsGroup"] == 1034
    assert shared["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    for container in containers(built(name)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("name", BUILT)
def test_each_pod_says_what_it_needs_and_its_own_account(name: str) -> None:
    objects = built(name)
    account = pod(objects)["spec"]["serviceAccountName"]
    assert account == one(objects, "ServiceAccount")["metadata"]["name"] != "default"
    for container in containers(objects):
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert set(resources["limits"]) == {"memory"}
        assert mebibytes(resources["requests"]) <= mebibytes(resources["limits"])
    for volume in pod(objects)["spec"]["volumes"]:
        assert volume["emptyDir"]["sizeLimit"]


def mebibytes(amounts: dict[str, str]) -> int:
    """An amount of memory."""
    [number, unit] = re.fullmatch(r"(\d+)(Mi|Gi)", amounts["memory"]).groups()  # type: ignore[union-attr]
    return int(number) * (1024 if unit == "Gi" else 1)


def test_the_memory_is_enough_for_the_workers() -> None:
    [container] = containers(built("base"))
    workers = settings.read_settings(one(built("base"), "ConfigMap")["data"]).workers
    assert 150 + 130 * (workers - 1) <= mebibytes(container["resources"]["requests"])


def test_the_only_place_to_write_is_tmp() -> None:
    [container] = containers(built("base"))
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]  # noqa: S108


def test_the_probes_ask_what_is_meant_for_them() -> None:
    [container] = containers(built("base"))
    for probe, path in (
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
        assert container[probe]["timeoutSeconds"] >= 3
    start = container["startupProbe"]
    waits = start["periodSeconds"] * start["failureThreshold"]
    # A fetch of the model may try again; then the model is loaded.
    assert waits >= 2 * fetch.PATIENCE.total_seconds()
    assert waits <= one(built("base"), "Deployment")["spec"]["progressDeadlineSeconds"]


@pytest.mark.parametrize("name", ["base", "overlays/production"])
def test_a_pod_has_the_time_that_it_may_take_to_stop(name: str) -> None:
    needed = stops_within(built(name))
    assert needed <= pod(built(name))["spec"]["terminationGracePeriodSeconds"] <= 2 * needed


def test_the_routes_go_before_the_service_begins_to_stop() -> None:
    [container] = containers(built("base"))
    assert float(container["lifecycle"]["preStop"]["exec"]["command"][1]) >= 5
    assert settings.read_settings(one(built("base"), "ConfigMap")["data"]).drain_seconds >= 5


def test_autoscaler_and_budget_and_rollout_agree() -> None:
    objects = built("base")
    deployment, scaler = one(objects, "Deployment"), one(objects, "HorizontalPodAutoscaler")
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    [metric] = scaler["spec"]["metrics"]
    assert metric["resource"]["name"] in containers(objects)[0]["resources"]["requests"]
    away = one(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"]
    assert 1 <= away < scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
    rolling = deployment["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_ports_lead_to_where_the_service_listens() -> None:
    objects = built("overlays/production")
    [container] = containers(objects)
    [port] = container["ports"]
    data = one(objects, "ConfigMap")["data"]
    assert port == {"name": "http", "containerPort": int(data.get("PORT", PORT))}
    [outside] = one(objects, "Service")["spec"]["ports"]
    assert outside["targetPort"] == port["name"]
    [inward] = one(objects, "NetworkPolicy")["spec"]["ingress"]
    assert inward["ports"] == [{"protocol": "TCP", "port": port["name"]}]
    [scraped] = one(objects, MONITOR)["spec"]["endpoints"]
    assert (scraped["port"], scraped["path"]) == (outside["name"], "/metrics")


def egress(objects: Objects) -> set[tuple[str, int]]:
    """The protocols and ports that the pod may call."""
    policy = one(objects, "NetworkPolicy")["spec"]
    assert matches(policy["podSelector"]["matchLabels"], pod(objects)["metadata"]["labels"])
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    return {(p["protocol"], p["port"]) for rule in policy["egress"] for p in rule["ports"]}


@pytest.mark.parametrize("name", ["base", "overlays/production"])
def test_a_service_with_its_own_model_reaches_nothing(name: str) -> None:
    assert egress(built(name)) == set()
    assert one(built(name), "NetworkPolicy")["spec"]["ingress"]


def test_what_fetches_reaches_names_and_tls_and_nothing_else(tmp_path: Path) -> None:
    fetches = {("UDP", 53), ("TCP", 53), ("TCP", 443)}
    assert egress(with_components(tmp_path, "model")) == fetches
    assert egress(built("training")) == fetches
    assert "ingress" not in one(built("training"), "NetworkPolicy")["spec"]


def test_prometheus_finds_the_service_under_the_job_of_the_rules() -> None:
    objects = built("overlays/production")
    monitor, service = one(objects, MONITOR)["spec"], one(objects, "Service")
    labels = service["metadata"]["labels"]
    assert matches(monitor["selector"]["matchLabels"], labels)
    [job] = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    assert labels[monitor["jobLabel"]] == job["job_name"]


def test_without_the_operator_the_overlay_needs_none(tmp_path: Path) -> None:
    kinds = {thing["kind"] for thing in with_components(tmp_path)}
    assert MONITOR not in kinds
    assert "Deployment" in kinds


@pytest.mark.parametrize("name", ["overlays/production", "training"])
def test_an_overlay_names_the_registry_and_an_exact_tag(name: str) -> None:
    for container in containers(built(name)):
        registry, _, tag = container["image"].rpartition(":")
        assert registry.startswith("registry.example.com/")
        assert re.fullmatch(r"[0-9a-f]{12}(-[0-9a-f]{12})?", tag)


def test_another_value_of_a_setting_is_a_rollout(tmp_path: Path) -> None:
    plain, changed = built("overlays/production"), with_components(tmp_path, "model")
    names = [one(objects, "ConfigMap")["metadata"]["name"] for objects in (plain, changed)]
    assert names[0] != names[1]
    for name, objects in zip(names, (plain, changed), strict=True):
        [container] = containers(objects)
        assert container["envFrom"] == [{"configMapRef": {"name": name}}]


def test_each_setting_is_one_that_the_service_knows_and_takes(tmp_path: Path) -> None:
    data = one(with_components(tmp_path, *COMPONENTS), "ConfigMap")["data"]
    known = {name.upper() for name in settings.Settings.model_fields} | {"PORT"} | AWS
    assert set(data) <= known
    assert one(built("base"), "ConfigMap")["data"].items() <= data.items()
    keys = tmp_path / "keys"
    keys.touch()
    read = settings.read_settings({**data, "API_KEYS_FILE": str(keys)})
    assert read.model_uri
    assert read.model_sha256


def test_the_model_comes_from_s3_by_a_role_of_the_account(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "model")
    assert {"MODEL_URI", "MODEL_SHA256", "AWS_REGION"} <= set(one(objects, "ConfigMap")["data"])
    notes = one(objects, "ServiceAccount")["metadata"]["annotations"]
    assert re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w-]+", notes["eks.amazonaws.com/role-arn"])


def test_the_keys_are_a_file_of_a_secret_that_changes_with_it(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "keys")
    path = Path(one(objects, "ConfigMap")["data"]["API_KEYS_FILE"])
    [container] = containers(objects)
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "keys"]
    assert mount == {"name": "keys", "mountPath": str(path.parent), "readOnly": True}
    [volume] = [each for each in pod(objects)["spec"]["volumes"] if each["name"] == "keys"]
    # Readable for the group, which is the pod's own, and for nobody else.
    assert volume["secret"] == {"secretName": "cairn-api-keys", "defaultMode": 0o440}
    hint = f"create secret generic cairn-api-keys --from-file={path.name}=FILE"
    assert hint in (FOLDER / "components/keys/kustomization.yaml").read_text()


def test_nothing_that_is_secret_stands_in_a_manifest(tmp_path: Path) -> None:
    for objects in (with_components(tmp_path, *COMPONENTS), built("training")):
        assert not [thing for thing in objects if thing["kind"] == "Secret"]
        for container in containers(objects):
            assert "env" not in container


def steps() -> dict[str, dict[str, Any]]:
    """The containers of the training Job by name."""
    return {container["name"]: container for container in containers(built("training"))}


def test_the_job_clones_trains_and_then_prints() -> None:
    spec = pod(built("training"))["spec"]
    assert list(steps()) == ["clone", "train", "changes"]
    assert [container["name"] for container in spec["containers"]] == ["changes"]
    # What the image does by itself, on the clone, where it looks for it.
    assert not {"command", "args"} & set(steps()["train"])
    [work] = [mount for mount in steps()["train"]["volumeMounts"] if mount["name"] == "work"]
    assert work == {"name": "work", "mountPath": "/repo", "subPath": "repo"}
    assert steps()["changes"]["volumeMounts"] == steps()["train"]["volumeMounts"]
    assert steps()["changes"]["workingDir"] == work["mountPath"]
    [top] = [mount for mount in steps()["clone"]["volumeMounts"] if mount["name"] == "work"]
    assert steps()["clone"]["command"][-1] == f"{top['mountPath']}/{work['subPath']}"


def test_the_job_is_tried_once_and_ends() -> None:
    job = one(built("training"), "Job")["spec"]
    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["activeDeadlineSeconds"]
    assert job["ttlSecondsAfterFinished"]


def git(*words: str, folder: Path, feed: str = "") -> str:
    """What git prints, with nobody's settings."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "Test", f"GIT_{who}_EMAIL": "test@example.org"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, input=feed, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_what_the_job_prints_is_what_git_applies(tmp_path: Path) -> None:
    """Its own commands, with the pod's variables, on a repository here."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git("init", "--quiet", "--initial-branch", "main", folder=origin)
    (origin / "dvc.lock").write_text("before\n")
    git("add", "--all", folder=origin)
    git("commit", "--quiet", "--message", "first", folder=origin)
    data = one(built("training"), "ConfigMap")["data"]
    assert data["GIT_URL"].startswith("https://")
    data["GIT_URL"] = origin.as_uri()
    word, *words = (
        re.sub(r"\$\((\w+)\)", lambda name: str(data[name[1]]), part)
        for part in steps()["clone"]["command"]
    )
    assert word == "git"
    git(*words[:-1], str(tmp_path / "repo"), folder=tmp_path)
    (tmp_path / "repo" / "dvc.lock").write_text("after\n")
    word, *words = steps()["changes"]["command"]
    assert word == "git"
    git("apply", folder=origin, feed=git(*words, folder=tmp_path / "repo"))
    assert (origin / "dvc.lock").read_text() == "after\n"


@pytest.mark.slow
def test_the_image_runs_and_stops_as_the_pod_says(image: str) -> None:
    """On a container engine: user, rights, memory, settings, the way to the end."""
    objects = built("overlays/production")
    [container] = containers(objects)
    user = pod(objects)["spec"]["securityContext"]["runAsUser"]
    data = one(objects, "ConfigMap")["data"]
    options = [f"--env={name}={value}" for name, value in data.items()]
    with docker.container(
        image,
        *options,
        f"--user={user}:{user}",
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        f"--memory={mebibytes(container['resources']['limits'])}m",
    ) as running:
        before = container["lifecycle"]["preStop"]["exec"]["command"]
        running.execute(*before)
        # The engine kills what takes longer, as Kubernetes would.
        rest = stops_within(objects) - float(before[1])
        docker.docker("stop", f"--time={rest:.0f}", running.name)
        assert running.state("ExitCode") == "0"
        assert running.state("OOMKilled") == "false"
