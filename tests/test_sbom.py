"""The SBOM of the image says what is in the image."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import sbom
from tests import docker
from tests.conftest import ROOT, Project

pytestmark = pytest.mark.real

SERVE = ROOT / "requirements-serve.txt"
LIST = (
    "import json; from importlib import metadata;"
    "print(json.dumps([(d.name, d.version) for d in metadata.distributions()]))"
)
BARE = {"type": "library", "bom-ref": "a==1", "name": "a", "version": "1"}

Packages = set[tuple[str, str]]


@pytest.fixture(scope="module")
def image(project: Project) -> str:
    """The image, with the SBOM that `make sbom` writes of it in the project's folder."""
    docker.require()
    docker.make(project, "sbom")
    return project.run("python", "-m", "service.bento.version").stdout.strip()


@pytest.fixture(scope="module")
def text(project: Project, image: str) -> str:
    assert image
    return (project.root / "build" / "sbom.cdx.json").read_text()


@pytest.fixture(scope="module")
def bom(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    return content


def listed(bom: dict[str, Any]) -> Packages:
    packages = [(canonicalize_name(one["name"]), one["version"]) for one in bom["components"]]
    assert len(packages) == len(set(packages))
    return set(packages)


@pytest.mark.slow
def test_it_lists_exactly_the_packages_that_the_image_has(bom: dict[str, Any], image: str) -> None:
    output = docker.docker("run", "--rm", "--entrypoint", "python", image, "-c", LIST)
    there = {(canonicalize_name(name), version) for name, version in json.loads(output)}
    assert listed(bom) == there
    assert len(there) > 50


@pytest.mark.slow
def test_these_are_the_locked_ones(bom: dict[str, Any], image: str) -> None:
    wanted = {
        (canonicalize_name(one.name), str(one.specifier).removeprefix("=="))
        for one in locked()
        if one.marker is None or one.marker.evaluate(markers(image))
    }
    assert listed(bom) == wanted


def locked() -> list[Requirement]:
    lines = SERVE.read_text().splitlines()
    return [Requirement(line.removesuffix(" \\")) for line in lines if line[:1].isalnum()]


def markers(image: str) -> dict[str, str]:
    """What the markers of requirements are evaluated with, as the image's Python has it."""
    program = (
        "import json, os, platform, sys; print(json.dumps({'python_version': '%d.%d' %"
        "sys.version_info[:2], 'python_full_version': platform.python_version(), 'sys_platform':"
        "sys.platform, 'platform_machine': platform.machine(), 'os_name': os.name,"
        "'platform_system': platform.system(), 'implementation_name': sys.implementation.name,"
        "'platform_python_implementation': platform.python_implementation()}))"
    )
    output = docker.docker("run", "--rm", "--entrypoint", "python", image, "-c", program)
    return dict(json.loads(output))


@pytest.mark.slow
def test_every_package_has_a_licence_and_a_purl(bom: dict[str, Any]) -> None:
    assert sbom.list_unlicensed(bom) == []
    for one in bom["components"]:
        purl = PackageURL.from_string(one["purl"])
        assert (purl.type, purl.version) == ("pypi", one["version"])
        assert purl.name == canonicalize_name(one["name"])
        for licence in one["licenses"]:
            name = licence.get("expression") or licence["license"].get("id")
            assert name or licence["license"]["name"]


@pytest.mark.slow
def test_it_is_about_that_image_and_valid(bom: dict[str, Any], text: str, image: str) -> None:
    about = bom["metadata"]["component"]
    assert f"{about['name']}:{about['version']}" == image
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    [holds] = [one for one in bom["dependencies"] if one["ref"] == about["bom-ref"]]
    assert set(holds["dependsOn"]) == {one["bom-ref"] for one in bom["components"]}


@pytest.mark.slow
def test_made_again_it_is_the_same_and_tells_nothing_of_this_machine(text: str, image: str) -> None:
    assert sbom.build_sbom(image) == text
    assert "file://" not in text
    assert "serialNumber" not in text
    assert "timestamp" not in text


def test_a_licence_that_is_not_spdx_is_kept_as_the_package_says_it() -> None:
    metadata = written(License="Apache License\n  2.0")
    [licence] = sbom.add_licence(BARE, metadata)["licenses"]
    assert licence["license"] == {"name": "Apache License 2.0", "acknowledgement": "declared"}


def test_a_package_with_the_text_of_its_licence_only_names_the_file() -> None:
    [licence] = sbom.add_licence(BARE, written(**{"License-File": "LICENSE"}))["licenses"]
    assert licence["license"]["name"] == "the text in the package's file LICENSE"


def test_what_the_tool_found_stays() -> None:
    component = {**BARE, "licenses": [{"expression": "MIT"}]}
    assert sbom.add_licence(component, written(License="something else")) == component


@pytest.mark.parametrize("licence", [None, "UNKNOWN", "", "the whole text " * 50])
def test_a_package_without_a_licence_is_listed_with_the_reason(licence: str | None) -> None:
    one = sbom.add_licence(BARE, written(License=licence) if licence is not None else written())
    assert "licenses" not in one
    assert [p["name"] for p in one["properties"]] == [sbom.WHY]
    assert sbom.list_unlicensed({"components": [one]}) == ["a"]


def written(**fields: str) -> str:
    """A METADATA file."""
    message = Message()
    message["Name"] = "a"
    for name, value in fields.items():
        message[name] = value
    return message.as_string()


@pytest.mark.slow
def test_an_image_that_is_not_here_is_one_line() -> None:
    docker.require()
    with pytest.raises(sbom.SbomError, match=r"docker create .* ends with 1: .*no-such-image"):
        sbom.build_sbom("no-such-image:1")
