"""The SBOM of an image: `python -m deploy.sbom IMAGE FILE`.

CycloneDX JSON of the Python packages that the image holds, with their versions, purls and
licences, made by cyclonedx-py of the installer's metadata in the image. Two runs on one image
write the same bytes. Debian's packages in the base image, and Python itself, are not in it.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path, PurePosixPath
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SECONDS = 300
SITE_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"
# The property of a package without a licence that says why, and the longest name of a licence:
# some put the whole text where the name belongs.
WHY = "cairn:licence"
LONGEST = 100


class SbomError(Exception):
    """Why there can be no SBOM: one sentence for people."""


def main() -> None:
    """Write the SBOM of the image that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sbom", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("image", help="name of an image that is here, as NAME:TAG")
    parser.add_argument("file", type=Path, help="where the SBOM goes, such as build/sbom.cdx.json")
    arguments = parser.parse_args()
    try:
        text = build_sbom(arguments.image)
    except SbomError as error:
        sys.exit(f"error: {error}")
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    arguments.file.write_text(text, encoding="utf-8")
    bom = json.loads(text)
    print(f"sbom: {len(bom['components'])} packages in {arguments.file}")
    if missing := list_unlicensed(bom):
        print(f"sbom: without a licence in their metadata: {', '.join(missing)}")


def build_sbom(image: str) -> str:
    """Build the SBOM of a local image, as text of CycloneDX JSON.

    Raises
    ------
    SbomError
        Where there is no such image, no Python package in it, or the schema does not hold.
    """
    with tempfile.TemporaryDirectory() as folder:
        packages = extract_packages(image, Path(folder))
        # The document is validated once, when it is complete.
        options = ("--output-reproducible", "--no-validate")
        environment = json.loads(
            run(sys.executable, "-m", "cyclonedx_py", "environment", *options, folder)
        )
        name, _, version = image.rpartition(":")
        bom = complete(environment, packages, name or image, version if name else "")
    text = json.dumps(bom, indent=2, sort_keys=True) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(text)
    if wrong:
        raise SbomError(f"{image}: the SBOM breaks CycloneDX's schema: {wrong}")
    return text


def extract_packages(image: str, folder: Path) -> dict[str, str]:
    """Lay the metadata of an image's packages out as an environment, which cyclonedx-py can read.

    Returns
    -------
    dict
        Each package's name and the text of its METADATA.
    """
    with container(image) as name:
        where = run("docker", "run", "--rm", "--entrypoint", "python", image, "-c", SITE_PACKAGES)
        content = copy_folder(name, where.strip())
    # Of this Python: nothing of it is run, and metadata are alike for all.
    builder = venv.EnvBuilder(with_pip=False, symlinks=True)
    builder.create(folder)
    [target] = folder.glob("lib/python3*/site-packages")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [one for one in tar.getmembers() if is_metadata(one.name)]
        for member in members:
            member.name = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # not before Python 3.11.4
        tar.extractall(target, members)  # noqa: S202, metadata of an image of ours
    texts = [path.read_text(encoding="utf-8") for path in target.glob("*.dist-info/METADATA")]
    if not texts:
        raise SbomError(f"{image}: no Python package in {where.strip()}")
    return {str(message_from_string(text)["Name"]): text for text in texts}


def is_metadata(path: str) -> bool:
    """Tell whether a path in a copy of site-packages lies in a package's metadata."""
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[1].endswith(".dist-info")


@contextmanager
def container(image: str) -> Iterator[str]:
    """Create a container of an image, do not start it, and remove it when the block ends."""
    name = run("docker", "create", "--pull", "never", image).strip()
    try:
        yield name
    finally:
        run("docker", "rm", name)


def copy_folder(name: str, path: str) -> bytes:
    """Copy a folder out of a container, as a tar archive."""
    command = ["docker", "cp", f"{name}:{path}", "-"]
    return subprocess.run(command, check=True, capture_output=True, timeout=SECONDS).stdout


def complete(
    environment: dict[str, Any], packages: dict[str, str], name: str, version: str
) -> dict[str, Any]:
    """Complete cyclonedx-py's document: the image as its subject, and each package's licence."""
    components = [add_licence(one, packages[one["name"]]) for one in environment["components"]]
    image = {"type": "container", "bom-ref": "image", "name": name, "version": version}
    holds = {"ref": "image", "dependsOn": [one["bom-ref"] for one in components]}
    return {
        **environment,
        "metadata": {**environment["metadata"], "component": image},
        "components": components,
        "dependencies": [holds, *environment["dependencies"]],
    }


def add_licence(component: dict[str, Any], metadata: str) -> dict[str, Any]:
    """Add to a component its licence, or the reason why it has none.

    cyclonedx-py leaves out a `License` that is not a word of SPDX.
    Some packages have only the text.
    """
    if component.get("licenses"):
        return component
    fields = message_from_string(metadata)
    declared = " ".join(str(fields["License"] or "").split())
    if not declared and fields["License-File"]:
        declared = f"the text in the package's file {fields['License-File']}"
    if declared and declared.upper() != "UNKNOWN" and len(declared) <= LONGEST:
        licence = {"license": {"name": declared, "acknowledgement": "declared"}}
        return {**component, "licenses": [licence]}
    reason = {"name": WHY, "value": "its metadata name none; read the package itself"}
    return {**component, "properties": [*component.get("properties", ()), reason]}


def list_unlicensed(bom: dict[str, Any]) -> list[str]:
    """List the names of the packages without a licence."""
    return [one["name"] for one in bom["components"] if not one.get("licenses")]


def run(*command: str) -> str:
    """Run a command and return what it prints.

    Raises
    ------
    SbomError
        Where it fails; with the last line of its errors.
    """
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise SbomError(f"{command[0]} is missing; install it") from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise SbomError(f"{' '.join(command[:3])} ends with {done.returncode}: {last[0]}")
    return done.stdout


if __name__ == "__main__":
    main()
