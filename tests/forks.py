"""Python's commands without the time that their imports take.

Each is a process of its own all the same, with its own folder, environment and output: it is forked
from one that has loaded DVC and AWS's library, and has done nothing else.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

LOADED = ("dvc.cli.parser", "dvc.repo", "s3fs", "dvc_s3", "botocore.session", "psutil")
LOCK = Lock()


def run(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run what `python ARGUMENTS` does, those being a script or `-m` and a module first."""
    with TemporaryDirectory() as folder, LOCK:
        outputs = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        job = {"arguments": [*arguments], "cwd": str(cwd), "env": {**env}, "outputs": outputs}
        parent = _parent()
        assert parent.stdin
        assert parent.stdout
        parent.stdin.write(json.dumps(job) + "\n")
        parent.stdin.flush()
        code = int(parent.stdout.readline())
        texts = [Path(name).read_text() for name in outputs]
    return subprocess.CompletedProcess([sys.executable, *arguments], code, *texts)


def is_possible(env: Mapping[str, str]) -> bool:
    """Whether an environment has nothing in it that counts when Python starts."""

    def at_start(names: Mapping[str, str]) -> dict[str, str]:
        return {name: names[name] for name in names if name.startswith("PYTHON")}

    has_proxy = any(name.lower().endswith("_proxy") for name in env)  # see deploy/local/loopback.py
    return not has_proxy and at_start(env) == at_start(os.environ)


@cache
def _parent() -> subprocess.Popen[str]:
    """The process from which all are forked; it ends with this one, whose pipe it reads."""
    command = [sys.executable, __file__]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(parent.communicate)
    return parent


def main() -> None:
    """Fork for each job that comes; only a child returns, as the process that the job is to be."""
    for name in LOADED:
        import_module(name)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(**json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(arguments: list[str], cwd: str, env: dict[str, str], outputs: list[str]) -> None:
    """Run a command in this process, which has been nothing before."""
    files = [os.open(os.devnull, os.O_RDONLY)]
    files += [os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in outputs]
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    first, *rest = arguments
    if first == "-m":
        sys.argv, sys.path[0] = rest, cwd
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main()
