"""upgrade: merge a newer Cairn into this branch: `make upgrade VERSION=v0.2.0`."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from deploy.local.upgrade.base import REFS
from deploy.local.upgrade.errors import UpgradeError
from deploy.local.upgrade.git import git, git_bytes, list_paths, succeeds
from deploy.local.upgrade.merge import Merge, check_ready, describe_conflicts, merge
from deploy.local.upgrade.migrations import (
    PARAMS,
    check_files,
    find_new_keys,
    migrate_files,
    read_text,
)
from deploy.local.upgrade.ownership import OWNED
from deploy.local.upgrade.reruns import explain_reruns, find_stale

UPSTREAM = "upstream"
PACKAGE = "deploy/local/upgrade"
SHIPPED = ("deploy/__init__.py", "deploy/local/__init__.py", PACKAGE)
MODULE = "deploy.local.upgrade"
NUMBER = re.compile(r"v?(\d+\.\d+\.\d+\S*)")
REGISTERED = re.compile(r"(\S+:[0-9a-f]{12}) is in the BentoML store")
TRAIN = (
    "make install && dvc repro && git add data dvc.lock && "
    "git commit --message 'Train with the new Cairn'"
)
SHOWN = 5  # releases that are listed


def main() -> None:
    """Do what the command line says; end with 1 where the user has something to do first."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("version", nargs="?", default="", help="of Cairn, such as v0.2.0")
    parser.add_argument("--fetched", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if not arguments.fetched:
            fetch()
        version, release = find_release(arguments.version)
        if arguments.fetched or not ships_upgrade(release):
            upgrade(version, release)
        else:
            sys.exit(hand_over(version, release))
    except UpgradeError as error:
        sys.exit(f"error: {error}")


def say(text: str) -> None:
    """Print one line at once."""
    print(f"upgrade: {text}", flush=True)


def fetch() -> None:
    """Fetch the releases of Cairn, each under a name that no tag of the user's can have.

    Raises
    ------
    UpgradeError
        Where there is no remote `upstream`, or it does not answer.
    """
    git("rev-parse", "--git-dir")  # where git does not read this folder, it says why
    if not succeeds("remote", "get-url", UPSTREAM):
        raise UpgradeError(
            f"there is no git remote {UPSTREAM}, from which Cairn comes; add it, URL being the "
            f"address of Cairn's repository: git remote add {UPSTREAM} URL"
        )
    try:
        git("fetch", "--quiet", "--no-tags", "--prune", UPSTREAM, f"+refs/tags/v*:{REFS}/v*")
    except UpgradeError as error:
        raise UpgradeError(
            f"{error}; is the address right? git remote get-url {UPSTREAM}"
        ) from None


def find_release(text: str) -> tuple[str, str]:
    """Find a release by its number.

    Returns
    -------
    str, str
        Its tag and its commit.

    Raises
    ------
    UpgradeError
        Where it is no number, or no release has it: which there are.
    """
    names = git("for-each-ref", "--sort=version:refname", "--format=%(refname)", REFS).split()
    tags = [name.removeprefix(f"{REFS}/") for name in names]
    there = ", ".join(tags[-SHOWN:]) or "none"
    if not text:
        raise UpgradeError(
            f"VERSION: say which, such as VERSION={(tags or ['v0.2.0'])[-1]}; the newest are: "
            f"{there}"
        )
    number = NUMBER.fullmatch(text)
    tag = f"v{number[1]}" if number else ""
    if tag not in tags:
        raise UpgradeError(
            f"VERSION: got {text[:60]!r}; {UPSTREAM} has no such release, the newest are: {there}"
        )
    return tag, git("rev-parse", f"{REFS}/{tag}^{{commit}}")


def ships_upgrade(release: str) -> bool:
    """Tell whether a release brings a package like this one."""
    return succeeds("cat-file", "-e", f"{release}:{PACKAGE}/__main__.py")


def hand_over(version: str, release: str) -> int:
    """Run the release's own copy of this package, from a folder of its own; return its exit code.

    It knows what has moved since, and merging does not change it while it runs.
    """
    with TemporaryDirectory(prefix="cairn-upgrade-") as folder:
        archive = io.BytesIO(git_bytes("archive", "--format=tar", release, *SHIPPED))
        with tarfile.open(fileobj=archive) as files:
            files.extractall(folder, filter="data")
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-P", "-m", MODULE, version, "--fetched"]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(command, check=False, env=environment).returncode


def upgrade(version: str, release: str) -> None:
    """Merge a release into the branch, migrate the user's files, and say what comes next.

    Raises
    ------
    UpgradeError
        Where the folder is not ready, or the user has to resolve conflicts first.
    """
    if succeeds("merge-base", "--is-ancestor", release, "HEAD"):
        say(f"{version} is in this branch already")
    else:
        check_ready(release, version)
        merge_release(version, release)
    report(release)


def merge_release(version: str, release: str) -> None:
    """Merge a release and commit it, the user's files migrated in the same commit."""
    check_files()
    model_tag = register()
    before = git("rev-parse", "HEAD")
    result = merge(release, f"Upgrade Cairn to {version}")
    if result is None:
        say(f"{version} is in this branch already")
        return
    for note in migrate_files(git("show", f"{release}:{PARAMS}")):
        say(note)
    migrated_paths = list_paths("diff", "--name-only", "-z", "--", *OWNED)
    if migrated_paths:
        git("add", "--", *migrated_paths)
    describe_kept(result, version)
    if model_tag:
        say(f"the new code can serve your current model: MODEL_TAG={model_tag} make serve")
    if result.conflicts:
        raise UpgradeError(
            f"{version} is merged, except where you have to decide; "
            + describe_conflicts(result.conflicts, version)
        )
    try:
        git("commit", "--no-edit")
    except UpgradeError as error:  # of a hook of the user's, say
        raise UpgradeError(f"{error}\n{describe_conflicts((), version)}") from None
    say(f"merged {version} in one commit; to undo it: git reset --hard {before[:12]}")


def describe_kept(result: Merge, version: str) -> None:
    """Say which files are not the release's."""
    say(f"your files, which no release overwrites: {', '.join(OWNED)}")
    there = [path for path in result.user_paths if Path(path).exists()]
    folders = sorted({path.partition("/")[0] for path in result.user_paths if path not in there})
    if there:
        say(f"kept your version of {', '.join(there)}; to see the release's: git show "
            f"{REFS}/{version}:{there[0]}")  # fmt: skip
    if folders:
        say(f"files that you deleted stay deleted: in {', '.join(folders)}")


def register() -> str | None:
    """Have the BentoML store hold the model of before; return its tag, None where there is none."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "register"]
    try:
        process = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    except FileNotFoundError:
        return None
    match = REGISTERED.search(process.stdout)
    return match[1] if match else None


def report(release: str) -> None:
    """Say what to mend, which stages run again and why, and what to do next."""
    for problem in (run_in_place(f"{MODULE}.check") or "").splitlines():
        say(f"to fix: {problem}")
    release_params = git("show", f"{release}:{PARAMS}")
    new = find_new_keys(release_params, read_text(PARAMS))
    if new:
        say(f"new keys in params.yaml, which have defaults: {', '.join(new)}")
    stages, locked_stages = read_stages("dvc.yaml"), read_stages("dvc.lock")
    stale = find_stale(stages, locked_stages)
    if stale:
        say(
            "no stage writes these files any more; after `dvc repro`, remove them: "
            f"rm -r {' '.join(stale)}"
        )
    status = run_in_place("dvc", "status", "--json")
    if status is None:
        return
    reruns = explain_reruns(json.loads(status), stages, locked_stages)
    if not reruns:
        say("no stage runs again: dvc.lock is what this code makes")
        return
    say("`dvc repro` will run these stages again:")
    width = max(len(rerun.stage) for rerun in reruns)
    for rerun in reruns:
        say(f"  {rerun.stage:{width}}  {'; '.join(rerun.reasons)}")
    say(f"next: {TRAIN}")


def run_in_place(module: str, *arguments: str) -> str | None:
    """Run a module in the folder, which has the release's code.

    Returns
    -------
    str or None
        What it prints; None where it fails; the reason is printed then.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or ["it says nothing"]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        say(f"{module} fails: {reason}; run `make install`, then this again")
        return None
    return process.stdout


def read_stages(path: str) -> dict[str, Any]:
    """Read the stages of dvc.yaml or dvc.lock; none where there is no such file."""
    if not Path(path).is_file():
        return {}
    content = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    return dict(content.get("stages", {}))


if __name__ == "__main__":
    main()
