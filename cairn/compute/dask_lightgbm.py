"""Fit LightGBM on all workers of a Dask cluster at once, by its own Dask estimator."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from distributed import Client, Future, wait
from numpy.typing import NDArray

from cairn import parquet
from cairn.compute import dask
from cairn.compute.dask import ATTEMPTS, IDLE_SECONDS, POLL_SECONDS, Cluster, WorkerLostError
from cairn.console import say
from cairn.errors import CairnError
from cairn.modeling.estimators import EARLY_STOPPING_NAMES

THREAD_NAMES = ("n_jobs", "num_threads", "num_thread", "nthread", "nthreads")  # aliases
Floats = NDArray[np.float32]


def fit(
    engine: Cluster,
    arguments: Mapping[str, Any],
    path: Path,
    prepare: Callable[[Floats], Floats] = np.asarray,
) -> Any:
    """Fit LightGBM's classifier on the cluster, by its own Dask estimator.

    Parameters
    ----------
    arguments
        Arguments of the classifier; `class_weight` by class code, or balanced. The cluster decides
        the number of threads.
    path
        data/features/train.parquet: float32 features, NaN if missing, then class codes. This
        process holds one row group of it in memory; the workers together hold all of it.
    prepare
        A transform of the features, n × k to n × m, row by row.

    Returns
    -------
    LGBMClassifier
        A classifier that needs no cluster. Its trees differ from those of one machine, which takes
        the edges of its histograms from all rows.

    Raises
    ------
    CairnError
        If LightGBM refuses the arguments, if they ask for early stopping, or if workers are lost
        in each attempt.
    """
    _check_early_stopping(arguments)
    counts = _count_classes(path)
    settled = _settle_arguments(arguments, counts)
    _check_lightgbm(engine)
    number = len(engine.workers())
    for attempt in range(ATTEMPTS):
        try:
            return _fit_once(engine, settled, path, prepare, int(counts[counts > 0].min()))
        except WorkerLostError:
            times = f"{attempt + 1} of {ATTEMPTS} times"
            say(f"train: a worker was lost while LightGBM trained, {times}")
            _recover_workers(engine, number)
    raise dask.attempts_error("LightGBM")


def _check_early_stopping(arguments: Mapping[str, Any]) -> None:
    """Refuse early stopping, because each worker has only a part of the held-out rows."""
    if not set(EARLY_STOPPING_NAMES).isdisjoint(arguments):
        raise CairnError(
            "train.early_stopping: LightGBM on a cluster cannot stop early; set it to null, or "
            "compute.engine to local"
        )


def _count_classes(path: Path) -> NDArray[np.int64]:
    """Count the rows of each class."""
    target = pq.read_schema(path).names[-1]
    classes = [np.asarray(group[target]) for group in parquet.groups(path, [target])]
    return np.bincount(np.concatenate(classes))


def _settle_arguments(arguments: Mapping[str, Any], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return arguments that mean the same to each worker, which sees a part of the rows."""
    remaining = {name: value for name, value in arguments.items() if name not in THREAD_NAMES}
    if remaining.get("class_weight") == "balanced":
        present = np.flatnonzero(counts)
        weights = counts.sum() / (len(present) * counts[present])
        remaining["class_weight"] = dict(zip(present.tolist(), weights.tolist(), strict=True))
    return remaining


def _check_lightgbm(engine: Cluster) -> None:
    """Raise a CairnError if LightGBM is not installed, or a worker has another version."""
    try:
        here = metadata.version("lightgbm")
    except metadata.PackageNotFoundError:
        raise CairnError("LightGBM is not installed; run `make install-extras`") from None
    workers = engine.client.get_versions(packages=["lightgbm"])["workers"]
    for address, worker in workers.items():
        version = worker["packages"]["lightgbm"]
        if version != here:
            raise dask.mismatch_error(
                ImportError(f"worker {address} has lightgbm {version or 'none'}, here it is {here}")
            )


def _fit_once(
    engine: Cluster,
    arguments: Mapping[str, Any],
    path: Path,
    prepare: Callable[[Floats], Floats],
    limit: int,
) -> Any:
    """Fit on at most `limit` workers; raise a WorkerLostError if one of them goes."""
    import lightgbm  # noqa: PLC0415 - an optional extra of its own

    logger = logging.getLogger("lightgbm")
    logger.setLevel(logging.ERROR)
    lightgbm.register_logger(logger)
    selected = dict(sorted(_list_processes(engine).items())[:limit])
    # LightGBM waits for ever for a worker that is gone; a client of its own can be closed.
    with Client(engine.client.scheduler.address) as own, ThreadPoolExecutor(1) as pool:
        model = lightgbm.DaskLGBMClassifier(client=own, **arguments)
        fitting = pool.submit(_scatter_and_fit, model, own, path, prepare, list(selected))
        while not fitting.done():
            concurrent.futures.wait([fitting], timeout=POLL_SECONDS)
            if not selected.items() <= _list_processes(engine).items():
                own.close()
                break
        error = fitting.exception()
    if error is None:
        return model.to_local().set_params(num_threads=0)  # those of the machine that predicts
    time.sleep(2 * POLL_SECONDS)  # other workers notice a loss before the scheduler does
    if not selected.items() <= _list_processes(engine).items():
        raise WorkerLostError("a worker")
    if isinstance(error, lightgbm.basic.LightGBMError | TypeError | ValueError):
        raise CairnError(f"train.arguments: LightGBM: {str(error).splitlines()[0]}") from None
    raise error


def _make_silencer() -> Callable[[], None]:
    """Make a function that stops LightGBM's output about ports, where it runs in this thread.

    It is sent by value. An argument of the fit comes too late: LightGBM opens the network before.
    """

    def silence() -> None:
        import lightgbm  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        lightgbm.Dataset(np.zeros((1, 1)), params={"verbosity": -1}).construct()

    return silence


def _list_processes(engine: Cluster) -> dict[str, str]:
    """List each worker's address → a folder that only this process of the worker has."""
    return {name: worker["local_directory"] for name, worker in engine.workers().items()}


def _scatter_and_fit(
    model: Any,
    client: Client,
    path: Path,
    prepare: Callable[[Floats], Floats],
    workers: Sequence[str],
) -> None:
    """Send the rows to the workers, and have them fit the model."""
    from dask import array  # noqa: PLC0415 - slow to import

    wait([client.submit(_make_silencer(), workers=[worker], pure=False) for worker in workers])
    pieces = list(_scatter_rows(client, path, prepare, workers))
    features = [
        array.from_delayed(piece.features, (piece.rows, piece.width), dtype=np.float32)
        for piece in pieces
    ]
    classes = [array.from_delayed(piece.classes, (piece.rows,), dtype=np.int64) for piece in pieces]
    model.fit(array.concatenate(features), array.concatenate(classes))


class _Piece(NamedTuple):
    """Rows that are on a worker."""

    features: Future
    classes: Future
    rows: int
    width: int


def _scatter_rows(
    client: Client,
    path: Path,
    prepare: Callable[[Floats], Floats],
    workers: Sequence[str],
) -> Iterator[_Piece]:
    """Deal the rows of each class out to the workers in turn, as each must know all classes."""
    counts: Counter[int] = Counter()
    for group in parquet.groups(path):
        *columns, target = (np.asarray(column) for column in group.columns)
        features = np.asarray(prepare(np.column_stack(columns)), dtype=np.float32)
        targets = deal(target, counts, len(workers))
        counts.update(dict(enumerate(np.bincount(target).tolist())))
        for index, worker in enumerate(workers):
            own = targets == index
            if own.any():
                parts = [features[own], target[own]]
                sent, classes = client.scatter(parts, workers=[worker], hash=False)
                yield _Piece(sent, classes, *parts[0].shape)


def deal(classes: NDArray[Any], before: Mapping[int, int], workers: int) -> NDArray[np.int64]:
    """Deal rows to workers, those of a class in turn, after the rows dealt before.

    >>> deal(np.array([1, 0, 1, 1]), {1: 1}, 2).tolist()
    [1, 0, 0, 1]
    """
    targets = np.empty(len(classes), dtype=np.int64)
    for code in np.unique(classes):
        rows = np.flatnonzero(classes == code)
        targets[rows] = (before.get(int(code), 0) + np.arange(len(rows))) % workers
    return targets


def _recover_workers(engine: Cluster, number: int) -> None:
    """Restart the workers that still wait for the lost one, and give that time to come back."""
    remaining = list(engine.workers())
    with suppress(ValueError, OSError):  # workers without a nanny end by themselves
        engine.client.restart_workers(remaining, timeout=IDLE_SECONDS, raise_for_error=False)
    dask.wait_for_workers(engine.client, number)
