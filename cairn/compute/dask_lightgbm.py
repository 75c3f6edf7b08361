"""LightGBM fitted on all workers of a Dask cluster at once, by its own Dask estimator."""

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
from cairn.compute.dask import ALONE_SECONDS, POLL_SECONDS, TRIES, Cluster, Lost
from cairn.console import CairnError, say
from cairn.modeling.estimators import EARLY_STOPPING_NAMES

THREADS = ("n_jobs", "num_threads", "num_thread", "nthread", "nthreads")  # LightGBM's words
Floats = NDArray[np.float32]


def fit(
    engine: Cluster,
    arguments: Mapping[str, Any],
    path: Path,
    prepare: Callable[[Floats], Floats] = np.asarray,
) -> Any:
    """Fit LightGBM's classifier on the whole cluster, by its own Dask estimator.

    Parameters
    ----------
    arguments
        Of the classifier; `class_weight` by class code, or balanced. How many threads is for the
        cluster to say.
    path
        data/features/train.parquet: float32 features, NaN where one is missing, then class codes.
        No more than a row group of it is in memory here; on the workers together all of it is.
    prepare
        What the features go through first, n × k to n × m, row by row.

    Returns
    -------
    LGBMClassifier
        One that needs no cluster. Its trees are not those of one machine, which chooses its
        histograms' edges from all rows.

    Raises
    ------
    CairnError
        Where LightGBM refuses the arguments, or they say to stop early, or workers are lost
        again and again.
    """
    _check_stops(arguments)
    counts = _counts(path)
    settled = _settled(arguments, counts)
    _check_lightgbm(engine)
    number = len(engine.workers())
    for attempt in range(TRIES):
        try:
            return _fit_once(engine, settled, path, prepare, int(counts[counts > 0].min()))
        except Lost:
            say(f"train: a worker was lost while LightGBM trained, {attempt + 1} of {TRIES} times")
            _recover(engine, number)
    raise dask.lost_again("LightGBM")


def _check_stops(arguments: Mapping[str, Any]) -> None:
    """Refuse to stop early: each worker has but a part of the rows that it would be judged by."""
    if not set(EARLY_STOPPING_NAMES).isdisjoint(arguments):
        raise CairnError(
            "train.early_stopping: LightGBM on a cluster cannot stop early; set it to null, or "
            "compute.engine to local"
        )


def _counts(path: Path) -> NDArray[np.int64]:
    """The rows of each class."""
    target = pq.read_schema(path).names[-1]
    classes = [np.asarray(group[target]) for group in parquet.groups(path, [target])]
    return np.bincount(np.concatenate(classes))


def _settled(arguments: Mapping[str, Any], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Arguments that mean the same to each worker, which sees some of the rows."""
    kept = {name: value for name, value in arguments.items() if name not in THREADS}
    if kept.get("class_weight") == "balanced":
        present = np.flatnonzero(counts)
        weights = counts.sum() / (len(present) * counts[present])
        kept["class_weight"] = dict(zip(present.tolist(), weights.tolist(), strict=True))
    return kept


def _check_lightgbm(engine: Cluster) -> None:
    """Raise a CairnError where LightGBM is not here, or a worker has another."""
    try:
        here = metadata.version("lightgbm")
    except metadata.PackageNotFoundError:
        raise CairnError("LightGBM is not installed; run `make install-extras`") from None
    found = engine.client.get_versions(packages=["lightgbm"])["workers"]
    for address, worker in found.items():
        version = worker["packages"]["lightgbm"]
        if version != here:
            raise dask.unfit(
                ImportError(f"worker {address} has lightgbm {version or 'none'}, here it is {here}")
            )


def _fit_once(
    engine: Cluster,
    arguments: Mapping[str, Any],
    path: Path,
    prepare: Callable[[Floats], Floats],
    most: int,
) -> Any:
    """Fit on at most so many workers; raises Lost where one of them goes."""
    import lightgbm  # noqa: PLC0415 - an optional extra of its own

    logger = logging.getLogger("lightgbm")
    logger.setLevel(logging.ERROR)
    lightgbm.register_logger(logger)
    taking = dict(sorted(_processes(engine).items())[:most])
    # LightGBM waits for a worker that is gone for ever; a client of its own can be closed.
    with Client(engine.client.scheduler.address) as own, ThreadPoolExecutor(1) as pool:
        model = lightgbm.DaskLGBMClassifier(client=own, **arguments)
        fitting = pool.submit(_spread_and_fit, model, own, path, prepare, list(taking))
        while not fitting.done():
            concurrent.futures.wait([fitting], timeout=POLL_SECONDS)
            if not taking.items() <= _processes(engine).items():
                own.close()
                break
        error = fitting.exception()
    if error is None:
        return model.to_local().set_params(num_threads=0)  # of whoever predicts
    time.sleep(2 * POLL_SECONDS)  # the others hear of it before the scheduler does
    if not taking.items() <= _processes(engine).items():
        raise Lost("a worker")
    if isinstance(error, lightgbm.basic.LightGBMError | TypeError | ValueError):
        raise CairnError(f"train.arguments: LightGBM: {str(error).splitlines()[0]}") from None
    raise error


def _quiet() -> Callable[[], None]:
    """What has LightGBM not tell of each port, where it runs in this thread.

    Sent by value; to fit comes too late, for a network is made before it reads its arguments.
    """

    def quiet() -> None:
        import lightgbm  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        lightgbm.Dataset(np.zeros((1, 1)), params={"verbosity": -1}).construct()

    return quiet


def _processes(engine: Cluster) -> dict[str, str]:
    """Address → a folder that only this process of a worker has."""
    return {name: worker["local_directory"] for name, worker in engine.workers().items()}


def _spread_and_fit(
    model: Any,
    client: Client,
    path: Path,
    prepare: Callable[[Floats], Floats],
    workers: Sequence[str],
) -> None:
    """Send the rows to the workers, and have them fit the model."""
    from dask import array  # noqa: PLC0415 - slow to import

    wait([client.submit(_quiet(), workers=[worker], pure=False) for worker in workers])
    pieces = list(_spread(client, path, prepare, workers))
    features = [
        array.from_delayed(piece.features, (piece.rows, piece.width), dtype=np.float32)
        for piece in pieces
    ]
    classes = [array.from_delayed(piece.classes, (piece.rows,), dtype=np.int64) for piece in pieces]
    model.fit(array.concatenate(features), array.concatenate(classes))


class _Piece(NamedTuple):
    """Rows that lie on a worker."""

    features: Future
    classes: Future
    rows: int
    width: int


def _spread(
    client: Client,
    path: Path,
    prepare: Callable[[Floats], Floats],
    workers: Sequence[str],
) -> Iterator[_Piece]:
    """Deal the rows of each class out to the workers in turn: for each must know all classes."""
    dealt: Counter[int] = Counter()
    for group in parquet.groups(path):
        *columns, target = (np.asarray(column) for column in group.columns)
        features = np.asarray(prepare(np.column_stack(columns)), dtype=np.float32)
        places = dealt_to(target, dealt, len(workers))
        dealt.update(dict(enumerate(np.bincount(target).tolist())))
        for place, worker in enumerate(workers):
            own = places == place
            if own.any():
                parts = [features[own], target[own]]
                sent, classes = client.scatter(parts, workers=[worker], hash=False)
                yield _Piece(sent, classes, *parts[0].shape)


def dealt_to(classes: NDArray[Any], before: Mapping[int, int], workers: int) -> NDArray[np.int64]:
    """To which worker each row goes: those of a class in turn, after so many before.

    >>> dealt_to(np.array([1, 0, 1, 1]), {1: 1}, 2).tolist()
    [1, 0, 0, 1]
    """
    found = np.empty(len(classes), dtype=np.int64)
    for code in np.unique(classes):
        rows = np.flatnonzero(classes == code)
        found[rows] = (before.get(int(code), 0) + np.arange(len(rows))) % workers
    return found


def _recover(engine: Cluster, number: int) -> None:
    """Free the workers that still wait for the one that is gone, and give it time to come back."""
    left = list(engine.workers())
    with suppress(ValueError, OSError):  # without a nanny; then they end by themselves
        engine.client.restart_workers(left, timeout=ALONE_SECONDS, raise_for_error=False)
    dask.wait_for_workers(engine.client, number)
