"""Run functions over parts, the search and LightGBM's training on a Dask cluster.

An optional extra, imported only if `compute.engine` is dask. Workers need the same packages as
this machine, but neither the project's code, which is sent to them, nor its data.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import logging
import pickle
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from joblib import parallel_config
from joblib.parallel import SequentialBackend, ThreadingBackend
from numpy.typing import NDArray

import cairn
from cairn.console import say
from cairn.errors import CairnError
from cairn.params.compute import Compute

try:
    import cloudpickle
    import dask
    from distributed import Client, Future, KilledWorker, LocalCluster, wait
    from distributed.client import ClosedClientError
    from distributed.versions import VersionMismatchWarning

    from cairn.compute import compat, remote
except ImportError as error:
    raise CairnError(
        f"compute.engine: dask needs {error.name}, which is not installed; "
        "run `make install-extras`"
    ) from None

Item = TypeVar("Item")
Result = TypeVar("Result")

PLUGIN = "cairn"
# Source text by which the builtin `eval` builds the plugin and calls it: a pickle cannot name a
# function of ours, as neither the scheduler nor the workers have one.
LOAD = "exec(source, scope := {'__name__': 'cairn'}) or scope['Code'](*arguments)"
RUN = f"__import__('distributed').get_worker().plugins[{PLUGIN!r}].run(*arguments)"
CONNECT_SECONDS = 20
IDLE_SECONDS = 60  # without a working worker, until the stage gives up
POLL_SECONDS = 1
RETRIES = 2  # of a part, after a fault of a network or a disk
TLS = "DASK_DISTRIBUTED__COMM__TLS"
AHEAD = 2  # parts in transit for each thread of the cluster
# Of a fit or a call, if workers are lost. tenacity would save no line: what to do between two
# attempts differs, waits for workers and not for a clock, and its import costs 50 ms.
ATTEMPTS = 3
FOLDERS = ("cairn", "stages")  # packages that the functions of a stage import
PACKAGES = (
    "cloudpickle", "dask", "distributed", "jiter", "joblib", "numpy", "pandas",
    "pyarrow", "pydantic", "ruamel.yaml", "scikit-learn", "scipy",
)  # fmt: skip
SETTINGS = {
    # Parts are sent with the tasks: data that is only on a worker is lost with it.
    "distributed.admin.large-graph-warning-threshold": "1 TiB",
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS} s",
    # For workers on this machine: the stage reports what matters of their errors.
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
}
LOGGERS = ("distributed", "distributed.client", "distributed.gc")


@contextmanager
def open_engine(params: Compute) -> Iterator[Cluster]:
    """Connect to the cluster of params.yaml, or start one of processes on this machine.

    Raises
    ------
    CairnError
        If no scheduler answers, no worker comes, or workers have other packages.
    """
    with _silence_dask(), _connect(params) as client:
        wait_for_workers(client)
        workers = len(client.nthreads())
        say(f"compute: Dask at {client.scheduler.address}, workers so far: {workers}")
        yield Cluster(client, _send_code(client))


@contextmanager
def _silence_dask() -> Iterator[None]:
    """Hide Dask's log of workers that come and go."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with dask.config.set(SETTINGS), warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # _send_code reports it
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _connect(params: Compute) -> Iterator[Client]:
    """Yield a client of the scheduler, or of processes on this machine that end with it."""
    if params.scheduler is None:
        with _start_cluster(params) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = compat.BoundedClient(params.scheduler, timeout=CONNECT_SECONDS)
    except ImportError as error:  # the scheduler's version refuses this client
        raise mismatch_error(error) from None
    except Exception as error:  # noqa: BLE001 - any address, any kind of server
        raise _unreachable_error(params.scheduler, error) from None
    with client:
        yield client


def _unreachable_error(address: str, error: Exception) -> CairnError:
    """Build the error for a scheduler that does not answer, with the likely reason."""
    tls = isinstance(error, TypeError | RuntimeError) or address.startswith("tls:")
    reason = " ".join(str(error).split()) or "the server at that address is no scheduler"
    if isinstance(error, TypeError):  # Dask's own text is about its code
        reason = "a tls:// address needs certificates"
    hint = (
        f"set {TLS}__CA_FILE and {TLS}__CLIENT__{{CERT,KEY}}, and write tls:// if and only if the "
        "scheduler has certificates; "
    )
    return CairnError(
        f"compute.scheduler: no Dask scheduler answers at {address} within {CONNECT_SECONDS} s "
        f"({reason}); {hint if tls else ''}start one, correct the address, or set null for a "
        "cluster on this machine"
    )


def _start_cluster(params: Compute) -> LocalCluster:
    """Start processes of one thread each on this machine, on loopback."""
    return LocalCluster(
        n_workers=params.workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=params.memory or "auto",
        dashboard_address="127.0.0.1:0",  # an unused page, on a free port
    )


def wait_for_workers(client: Client, number: int = 1) -> None:
    """Wait for workers that are starting; raise a CairnError if none does."""
    try:
        client.wait_for_workers(number, timeout=IDLE_SECONDS)
    except TimeoutError:
        if not client.nthreads():
            raise idle_error() from None


def _send_code(client: Client) -> str:
    """Send this code to every worker, also to one that joins later; return its SHA-256.

    Raises
    ------
    CairnError
        If a worker lacks a package, or has another version.
    """
    root = Path(cairn.__file__ or "").parents[1]
    files = {str(path.relative_to(root)): path.read_bytes() for path in _list_modules(root)}
    sha256 = hashlib.sha256(pickle.dumps(files)).hexdigest()
    try:
        client.register_plugin(_Code(files, sha256, read_versions(PACKAGES)), name=PLUGIN)
    except ImportError as error:
        raise mismatch_error(error) from None
    return sha256


def _list_modules(root: Path) -> list[Path]:
    return sorted(path for package in FOLDERS for path in (root / package).rglob("*.py"))


def read_versions(packages: Iterable[str]) -> dict[str, str]:
    """Read the versions of installed packages, and of Python without its last number."""
    return {name: remote.version(name) for name in ("python", *packages)}


class _Code(remote.Code):
    """Pickles as source, which every Python can read; bytecode is specific to a version."""

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.files, self.sha256, self.versions)
        return eval, (LOAD, {"source": inspect.getsource(remote), "arguments": arguments})


class _Dumper(cloudpickle.Pickler):  # type: ignore[misc]  # untyped
    """Pickles a call, with indices instead of the shared objects.

    It pickles by value what a worker cannot import: nested functions, and all of `__main__`.
    """

    def __init__(self, file: io.BytesIO, shared: Sequence[Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._indices = {id(one): index for index, one in enumerate(shared)}

    def persistent_id(self, value: Any) -> int | None:
        return self._indices.get(id(value))


def mismatch_error(error: ImportError) -> CairnError:
    """Build the error for a worker that cannot run this project."""
    return CairnError(
        f"dask: {error}; install requirements-extras.txt for the same Python on every machine of "
        "the cluster, or start all from the same image"
    )


class WorkerLostError(CairnError):
    """A worker is gone, and so is the data on it."""


class Cluster:
    """A Dask cluster."""

    def __init__(self, client: Client, sha256: str) -> None:
        self.client = client
        self._sha256 = sha256

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Map a function as Engine.map; at most `AHEAD` items a thread are on the cluster.

        Raises
        ------
        CairnError
            As the function; if memory is too small; if all workers are gone.
        """
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(self.submit(partial(function, item)))
            while len(waiting) >= AHEAD * self.threads():
                yield self.result(waiting.popleft())
        while waiting:
            yield self.result(waiting.popleft())

    def threads(self) -> int:
        """Count the threads of the cluster at the moment; at least one."""
        with self._translate_errors():
            return max(1, int(sum(self.client.nthreads().values())))

    @contextmanager
    def joblib(self, *shared: NDArray[Any]) -> Iterator[None]:
        """Run joblib's parallel calls, such as those of GridSearchCV, on the cluster.

        Parameters
        ----------
        shared
            Arrays that every call takes; each worker gets them once.
        """
        with parallel_config(backend=_Backend(self, shared)):
            yield

    def submit(
        self,
        call: Callable[[], Any],
        shared: Sequence[Any] = (),
        futures: Sequence[Future] = (),
    ) -> Future:
        """Send a call with all that it needs, so that another worker can take it over."""
        file = io.BytesIO()
        _Dumper(file, shared).dump(call)
        arguments = [self._sha256, file.getvalue(), list(futures)]
        with self._translate_errors():
            return self.client.submit(
                eval, RUN, {"arguments": arguments}, pure=False, retries=RETRIES
            )

    def result(self, future: Future) -> Any:
        """Wait for the result of a call."""
        self._wait(future)
        try:
            return future.result()
        except KilledWorker as error:
            raise memory_error(error) from None
        except ImportError as error:
            raise mismatch_error(error) from None
        except CancelledError:
            raise self._cancellation_error() from None

    def _cancellation_error(self) -> CairnError:
        """Build the error for a cancelled call: a worker is lost, or the scheduler is gone."""
        try:
            self.workers()
        except CairnError as error:
            return error
        return WorkerLostError("dask: a worker is gone with its data; run `dvc repro` again")

    def _wait(self, *futures: Future) -> None:
        """Wait for futures as long as some worker works."""
        seen = time.monotonic()
        while True:
            try:
                wait(futures, timeout=POLL_SECONDS)
            except TimeoutError:
                if self._has_running_worker():
                    seen = time.monotonic()
                elif time.monotonic() - seen > IDLE_SECONDS:
                    raise idle_error() from None
            except CancelledError:
                raise self._cancellation_error() from None
            else:
                return

    def _has_running_worker(self) -> bool:
        """Tell whether a worker takes tasks, which one without enough memory does not."""
        workers = self.workers().values()
        return any(worker["status"] == "running" for worker in workers)

    def workers(self) -> dict[str, Any]:
        """Ask the scheduler for address → what it knows of a worker."""
        with self._translate_errors():
            return compat.read_workers(self.client)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn what a client raises without a scheduler into a CairnError that says so."""
        try:
            yield
        except (OSError, CancelledError):
            raise _scheduler_error() from None
        except (RuntimeError, AttributeError, ClosedClientError):
            # A client that has given up raises these; while it runs, they are bugs.
            if self.client.status == "running":
                raise
            raise _scheduler_error() from None


def memory_error(error: KilledWorker) -> CairnError:
    """Build the error for workers that died one after the other of the same part."""
    limit = error.last_worker.memory_limit
    size = f"their limit of {limit / 2**20:,.0f} MiB" if limit else "that of their machine"
    return CairnError(
        f"dask: {error.allowed_failures + 1} workers died on the same part of the table, most "
        f"likely because they needed more memory than {size}; give each more (compute.memory, or "
        "`dask worker --memory-limit`), or fewer threads"
    )


def idle_error() -> CairnError:
    """Build the error for a cluster on which no worker works."""
    return CairnError(
        f"dask: no worker has worked for {IDLE_SECONDS} s: there is none, or all are paused for "
        "lack of memory; start workers (`dask worker ADDRESS`) or give each more memory, and run "
        "`dvc repro` again"
    )


def _scheduler_error() -> CairnError:
    return CairnError("dask: the scheduler is gone; start it, and run `dvc repro` again")


class _Backend(ThreadingBackend):  # type: ignore[misc]
    """joblib's threads, each of which waits for a call on the cluster.

    joblib has a Dask backend of its own. With two workers both take the same CPU time (80 fits on
    40,000 × 20: 45 to 51 s by joblib's, 49 to 52 s by this one), but after the loss of a worker
    joblib's fails with a FutureCancelledError (joblib issues 957 and 1201), and this one goes on.

    Calls that do not take the shared arrays, such as those inside the final fit, have large arrays
    of their own and stay on this machine.
    """

    supports_sharedmem = False

    def __init__(self, cluster: Cluster, shared: Sequence[NDArray[Any]]) -> None:
        super().__init__(nesting_level=0)
        self._cluster, self._shared = cluster, shared
        self._futures: list[Future] = []
        self._lock = threading.Lock()

    def effective_n_jobs(self, n_jobs: int | None) -> int:  # noqa: ARG002
        """Return the number of calls at a time; with one, joblib would not use the backend."""
        return max(2, self._cluster.threads())

    def get_nested_backend(self) -> tuple[SequentialBackend, int | None]:
        """Return the backend inside a call, whose thread is already one of many."""
        return SequentialBackend(nesting_level=1), None

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Have a thread wait for a batch of calls."""
        identifiers = set(map(id, compat.iterate_arguments(func)))
        if {id(array) for array in self._shared} <= identifiers:
            func = partial(self._call, func)
        return super().submit(func, callback)

    def _call(self, func: Callable[[], Any]) -> Any:
        """Run a batch on the cluster, and once more if the shared arrays are lost."""
        for _ in range(ATTEMPTS):
            try:
                futures = self._scatter()
                return self._cluster.result(self._cluster.submit(func, self._shared, futures))
            except WorkerLostError:
                continue
        raise attempts_error("a search")

    def _scatter(self) -> list[Future]:
        """Send the shared arrays to all workers that lack them."""
        with self._lock:
            if not self._futures or any(each.status != "finished" for each in self._futures):
                wait_for_workers(self._cluster.client)
                self._futures = self._cluster.client.scatter(
                    list(self._shared), broadcast=True, hash=False
                )
            return self._futures


def attempts_error(what: str) -> CairnError:
    """Build the error for something that lost workers in each attempt."""
    return CairnError(
        f"dask: {what} lost workers {ATTEMPTS} times; give each more memory (compute.memory, or "
        "`dask worker --memory-limit`): its training rows must fit"
    )
