"""Prepare a Dask worker, which has no code of the project yet.

A worker gets the source of this module, never its bytecode, so that one with another Python can
report that. It imports nothing of the project.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

FOLDER = "cairn-code-"  # followed by the code's SHA-256, in a worker's own folder


def version(name: str) -> str:
    """Look up the version of a package, `none` without it; of `python` its first two numbers."""
    if name == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


class Code(WorkerPlugin):  # type: ignore[misc]  # untyped
    """Installs a run's code in a worker instead of a former run's, and runs calls with it.

    Parameters
    ----------
    files
        Path below the folder of the code → content.
    sha256
        SHA-256 of all of them.
    versions
        Package → the version that the worker must have.
    """

    def __init__(
        self, files: Mapping[str, bytes], sha256: str, versions: Mapping[str, str]
    ) -> None:
        self.files, self.sha256, self.versions = files, sha256, versions
        self.problem = ""

    def setup(self, worker: Any) -> None:
        """Install the code; raise an ImportError if the worker has other packages than the run."""
        mismatches = [
            f"{name} {version(name)}, here it is {expected}"
            for name, expected in self.versions.items()
            if version(name) != expected
        ]
        if mismatches:
            self.problem = f"worker {worker.address} has {'; '.join(mismatches)}"
            raise ImportError(self.problem)
        folder = Path(worker.local_directory, f"{FOLDER}{self.sha256}")
        if str(folder) in sys.path:
            return
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        sys.path[:] = [str(folder), *(path for path in sys.path if FOLDER not in path)]
        packages = {name.split("/")[0] for name in self.files}
        for name in [name for name in sys.modules if name.split(".")[0] in packages]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def run(self, sha256: str, payload: bytes, shared: Sequence[Any]) -> Any:
        """Run a pickled call, whose shared objects are already on the worker.

        Raises
        ------
        ImportError
            If this worker lacks the code or the packages of the run that calls.
        """
        import pyarrow as pa  # noqa: PLC0415 - a worker with other packages may lack it

        if self.problem:
            raise ImportError(self.problem)
        if self.sha256 != sha256:
            raise ImportError("another run has sent other code; run one at a time on a cluster")
        try:
            return Loader(io.BytesIO(payload), shared).load()()
        finally:
            pa.default_memory_pool().release_unused()


class Loader(pickle.Unpickler):
    """Unpickles a call, with the shared objects instead of their indices."""

    def __init__(self, file: io.BytesIO, shared: Sequence[Any]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, index: int) -> Any:
        """Return the shared object of an index."""
        return self._shared[index]
