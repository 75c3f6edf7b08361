"""Past one machine: functions over parts, the search and LightGBM's training on a Dask cluster.

An optional extra, imported only where `compute.engine` is dask. Workers need the same packages as
this machine, but neither the project's code, which is sent to them, nor its data.
"""

from __future__ import annotations

import asyncio
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
from cairn.console import CairnError
from cairn.params.compute import Compute

try:
    import cloudpickle
    import dask
    from distributed import Client, Future, KilledWorker, LocalCluster, wait
    from distributed.client import ClosedClientError
    from distributed.versions import VersionMismatchWarning

    from cairn.compute import remote
except ImportError as error:
    raise CairnError(
        f"compute.engine: dask needs {error.name}, which is not here; run `make install-extras`"
    ) from None

Item = TypeVar("Item")
Result = TypeVar("Result")

NAME = "cairn"  # of the plugin
# Text that the builtin `eval` makes a plugin of, and with which it calls that: neither a scheduler
# nor a worker has a function of ours that a pickle could name.
LOAD = "exec(source, scope := {'__name__': 'cairn'}) or scope['Code'](*arguments)"
RUN = f"__import__('distributed').get_worker().plugins[{NAME!r}].run(*arguments)"
CONNECT_SECONDS = 20
ALONE_SECONDS = 60  # without a worker that works, until the stage gives up
POLL_SECONDS = 1
RETRIES = 2  # of a part, where a network or a disk failed
TLS = "DASK_DISTRIBUTED__COMM__TLS"
AHEAD = 2  # parts on their way for each thread of the cluster
TRIES = 3  # of a fit, where workers are lost
CODE = ("cairn", "stages")  # what the functions of a stage import
PACKAGES = (
    "cloudpickle", "dask", "distributed", "jiter", "joblib", "numpy", "pandas",
    "pyarrow", "pydantic", "ruamel.yaml", "scikit-learn", "scipy",
)  # fmt: skip
SETTINGS = {
    # Parts are sent in the tasks: what only lies on a worker is lost with it.
    "distributed.admin.large-graph-warning-threshold": "1 TiB",
    "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS} s",
    # Of workers on this machine: what matters of their errors is said by the stage.
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
}
LOGGERS = ("distributed", "distributed.client", "distributed.gc")


@contextmanager
def open_engine(block: Compute) -> Iterator[Cluster]:
    """The cluster that params.yaml names, or one of processes on this machine for so long.

    Raises
    ------
    CairnError
        Where nobody answers, no worker comes, or workers have other packages.
    """
    with _quiet(), _client(block) as client:
        wait_for_workers(client)
        yield Cluster(client, _send_code(client))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Dask logs of comings and goings from the person who runs a stage."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with dask.config.set(SETTINGS), warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # told by _send_code
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _client(block: Compute) -> Iterator[Client]:
    """A client of the scheduler, or of processes here that end with the block."""
    if block.scheduler is None:
        with _local(block) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = _Client(block.scheduler, timeout=CONNECT_SECONDS)
    except ImportError as error:  # a scheduler so old or new that it refuses this client
        raise unfit(error) from None
    except Exception as error:  # noqa: BLE001 - whatever an address or another server leads to
        raise _nobody(block.scheduler, error) from None
    with client:
        yield client


def _nobody(address: str, error: Exception) -> CairnError:
    """Say that there is no scheduler to talk to, and what may be the reason."""
    tls = isinstance(error, TypeError | RuntimeError) or address.startswith("tls:")
    reason = " ".join(str(error).split()) or "what takes connections there is no scheduler"
    if isinstance(error, TypeError):  # Dask's own text is about its code
        reason = "a tls:// address needs certificates"
    hint = (
        f"set {TLS}__CA_FILE and {TLS}__CLIENT__{{CERT,KEY}}, and write tls:// if and only if the "
        "scheduler has certificates, too; "
    )
    return CairnError(
        f"compute.scheduler: no Dask scheduler answers at {address} within {CONNECT_SECONDS} s "
        f"({reason}); {hint if tls else ''}start one, correct the address, or set null for a "
        "cluster on this machine"
    )


class _Client(Client):  # type: ignore[misc]
    """One that is closed where it cannot start, and that starts in bounded time.

    Else the garbage collector would close it: where it does so in the thread that another client
    is just starting, each of the two waits for the other.
    """

    def start(self, **knobs: Any) -> None:
        try:
            super().start(**knobs)
        except Exception:
            self.close()
            raise

    async def _ensure_connected(self, **knobs: Any) -> None:
        """Connect; Dask itself waits for ever where a server takes a connection and says nothing.

        It is Dask's private method: test_a_server_that_says_nothing_is_no_scheduler fails where
        it has another name.
        """
        connecting = super()._ensure_connected(**knobs)
        await asyncio.wait_for(connecting, 2 * CONNECT_SECONDS)


def _local(block: Compute) -> LocalCluster:
    """Processes of one thread on this machine, on loopback."""
    return LocalCluster(
        n_workers=block.workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=block.memory or "auto",
        dashboard_address="127.0.0.1:0",  # a page nobody is told of, on a port that nobody has
    )


def wait_for_workers(client: Client, number: int = 1) -> None:
    """Give workers that are about to start the time to; a CairnError where none does."""
    try:
        client.wait_for_workers(number, timeout=ALONE_SECONDS)
    except TimeoutError:
        if not client.nthreads():
            raise alone() from None


def _send_code(client: Client) -> str:
    """Have every worker, also one that joins later, run this code; its SHA-256.

    Raises
    ------
    CairnError
        Where a worker lacks a package, or has another version.
    """
    root = Path(cairn.__file__ or "").parents[1]
    files = {str(path.relative_to(root)): path.read_bytes() for path in _modules(root)}
    sha256 = hashlib.sha256(pickle.dumps(files)).hexdigest()
    try:
        client.register_plugin(_Code(files, sha256, versions(PACKAGES)), name=NAME)
    except ImportError as error:
        raise unfit(error) from None
    return sha256


def _modules(root: Path) -> list[Path]:
    return sorted(path for package in CODE for path in (root / package).rglob("*.py"))


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package that is here, and of Python, less its last number."""
    return {name: remote.version(name) for name in ("python", *packages)}


class _Code(remote.Code):
    """Pickles as its source, which every Python can read; bytecode is one Python's own."""

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.files, self.sha256, self.versions)
        return eval, (LOAD, {"source": inspect.getsource(remote), "arguments": arguments})


class _Dumper(cloudpickle.Pickler):  # type: ignore[misc]  # untyped
    """Pickles all but what is shared, for which its place stands.

    What a worker cannot import is pickled by value: functions in functions, and all of `__main__`.
    """

    def __init__(self, file: io.BytesIO, shared: Sequence[Any]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._places = {id(one): place for place, one in enumerate(shared)}

    def persistent_id(self, found: Any) -> int | None:
        return self._places.get(id(found))


def unfit(error: ImportError) -> CairnError:
    """A worker cannot run this project."""
    return CairnError(
        f"dask: {error}; install requirements-extras.txt for the same Python on every machine of "
        "the cluster, or start all from the same image"
    )


class Lost(CairnError):
    """What lay on a worker went with it."""


class Cluster:
    """A Dask cluster."""

    def __init__(self, client: Client, sha256: str) -> None:
        self.client = client
        self._sha256 = sha256

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """As Engine.map; at most `AHEAD` items a thread are on the cluster.

        Raises
        ------
        CairnError
            As the function; where memory does not suffice; where all workers are gone.
        """
        waiting: deque[Future] = deque()
        for item in items:
            waiting.append(self.submit(partial(function, item)))
            while len(waiting) >= AHEAD * self.threads():
                yield self.result(waiting.popleft())
        while waiting:
            yield self.result(waiting.popleft())

    def threads(self) -> int:
        """Of the cluster, at the moment; at least one."""
        with self._answering():
            return max(1, int(sum(self.client.nthreads().values())))

    @contextmanager
    def joblib(self, *shared: NDArray[Any]) -> Iterator[None]:
        """Have joblib's parallel calls, such as those of GridSearchCV, run on the cluster.

        Parameters
        ----------
        shared
            The arrays that every call takes, which are sent to each worker once.
        """
        with parallel_config(backend=_Backend(self, shared)):
            yield

    def submit(
        self,
        call: Callable[[], Any],
        shared: Sequence[Any] = (),
        futures: Sequence[Future] = (),
    ) -> Future:
        """Send a call with all that it needs: so another worker can take over what one lost."""
        file = io.BytesIO()
        _Dumper(file, shared).dump(call)
        arguments = [self._sha256, file.getvalue(), list(futures)]
        with self._answering():
            return self.client.submit(
                eval, RUN, {"arguments": arguments}, pure=False, retries=RETRIES
            )

    def result(self, future: Future) -> Any:
        """What a call gave, once it did."""
        self._wait(future)
        try:
            return future.result()
        except KilledWorker as error:
            raise _too_little(error) from None
        except ImportError as error:
            raise unfit(error) from None
        except CancelledError:
            raise self._lost() from None

    def _lost(self) -> CairnError:
        """Why there will be no result: something went with a worker, or there is no scheduler."""
        try:
            self.workers()
        except CairnError as gone:
            return gone
        return Lost("dask: what lay on a worker is lost with it; run `dvc repro` again")

    def _wait(self, *futures: Future) -> None:
        """Wait, while there is a worker to wait for."""
        seen = time.monotonic()
        while True:
            try:
                wait(futures, timeout=POLL_SECONDS)
            except TimeoutError:
                if self._working():
                    seen = time.monotonic()
                elif time.monotonic() - seen > ALONE_SECONDS:
                    raise alone() from None
            except CancelledError:
                raise self._lost() from None
            else:
                return

    def _working(self) -> bool:
        """Whether a worker takes tasks: one that has too little memory to go on does not."""
        workers = self.workers().values()
        return any(worker["status"] == "running" for worker in workers)

    def workers(self) -> dict[str, Any]:
        """Address → what the scheduler knows of a worker; a CairnError where it does not answer.

        The client's own scheduler_info may say what was so before, and now and then of no worker.
        """
        with self._answering():
            return dict(self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"])

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Have a scheduler that does not answer told as that."""
        try:
            yield
        except (OSError, CancelledError):
            raise _gone() from None
        except (RuntimeError, AttributeError, ClosedClientError):
            # What a client says that has given up, and has no scheduler any more; or a bug.
            if self.client.status == "running":
                raise
            raise _gone() from None


def _too_little(error: KilledWorker) -> CairnError:
    """Workers died one after the other of the same part."""
    limit = error.last_worker.memory_limit
    size = f"their limit of {limit / 2**20:,.0f} MiB" if limit else "what their machine has"
    return CairnError(
        f"dask: {error.allowed_failures + 1} workers died of one part of the table, most likely of "
        f"memory over {size}; give each more (compute.memory, or `dask worker --memory-limit`), or "
        "fewer threads"
    )


def alone() -> CairnError:
    """There is nobody to wait for."""
    return CairnError(
        f"dask: for {ALONE_SECONDS} s no worker has worked: there is none, or all stand still for "
        "want of memory; start workers (`dask worker ADDRESS`) or give each more memory, and run "
        "`dvc repro` again"
    )


def _gone() -> CairnError:
    return CairnError("dask: the scheduler is gone; start it, and run `dvc repro` again")


class _Backend(ThreadingBackend):  # type: ignore[misc]
    """joblib's threads, each of which waits for a call on the cluster.

    Calls that do not take the shared arrays, as those inside the last fit, have large ones of their
    own: they stay here.
    """

    supports_sharedmem = False

    def __init__(self, cluster: Cluster, shared: Sequence[NDArray[Any]]) -> None:
        super().__init__(nesting_level=0)
        self._cluster, self._shared = cluster, shared
        self._futures: list[Future] = []
        self._lock = threading.Lock()

    def effective_n_jobs(self, n_jobs: int | None) -> int:  # noqa: ARG002
        """Calls at a time, whatever the caller says; with one, joblib would stay in here."""
        return max(2, self._cluster.threads())

    def get_nested_backend(self) -> tuple[SequentialBackend, int | None]:
        """What a call uses on its worker, whose thread is one of many already."""
        return SequentialBackend(nesting_level=1), None

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Have a thread wait for the call."""
        given = {id(value) for _, args, named in func.items for value in (*args, *named.values())}
        if {id(array) for array in self._shared} <= given:
            func = partial(self._call, func)
        return super().submit(func, callback)

    def _call(self, func: Callable[[], Any]) -> Any:
        """Run a call on the cluster, once more where the shared arrays went with a worker."""
        for _ in range(TRIES):
            try:
                futures = self._sent()
                return self._cluster.result(self._cluster.submit(func, self._shared, futures))
            except Lost:
                continue
        raise lost_again("a search")

    def _sent(self) -> list[Future]:
        """The shared arrays on all workers, sent where they are not there."""
        with self._lock:
            if not self._futures or any(each.status != "finished" for each in self._futures):
                wait_for_workers(self._cluster.client)
                self._futures = self._cluster.client.scatter(
                    list(self._shared), broadcast=True, hash=False
                )
            return self._futures


def lost_again(what: str) -> CairnError:
    """Whatever was tried, its workers went."""
    return CairnError(
        f"dask: {what} lost workers {TRIES} times; give each more memory (compute.memory, or "
        "`dask worker --memory-limit`): what it trains on must fit"
    )
