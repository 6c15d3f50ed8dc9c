"""Workers that predict the scenarios of a sweep: this process, a pool of processes, or a Dask cluster.

Each yields rows chunk by chunk, in order of completion; several chunks per worker are in flight at once. distributed,
from the extra ``dask``, is imported where it is used, because it is optional.
"""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import Any

from lbsim.analysis.sweep import QUANTITIES, RESULT_COLUMNS, Sweep, SweepRow, Task
from lbsim.errors import InputError
from lbsim.predict import predict
from lbsim.profiles.catalog import Folders
from lbsim.simulation.prediction import Prediction

__all__ = ["CHUNK", "cores", "predict_tasks", "run_here", "run_on_dask"]

CHUNK = 16
"""Scenarios per message to a worker: about 0.1 s of work, which makes the cost of sending negligible."""
_AHEAD = 3
"""Chunks in flight per worker."""
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?[^\s/]+:\d+")
_TIMEOUT = 8
"""Seconds to wait for a scheduler, and for its first worker."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not every system has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def predict_tasks(tasks: Sequence[Task], folders: Folders) -> list[SweepRow]:
    """Return the predicted numbers of each of *tasks*, or its error; worker processes call this."""
    return [_predicted(task, folders) for task in tasks]


def _predicted(task: Task, folders: Folders) -> SweepRow:
    try:
        return dict(_cells(predict(task.scenario(folders)))) | {"error": None}
    except InputError as error:
        return dict.fromkeys(RESULT_COLUMNS) | {"error": " ".join(str(error).split())}


def _cells(prediction: Prediction) -> Iterator[tuple[str, float]]:
    for name in (*QUANTITIES, "communication_time"):
        yield name, getattr(prediction, name)
    for name, seconds in asdict(prediction.breakdown).items():
        yield f"breakdown.{name}", seconds
    for name in QUANTITIES:
        yield f"interval.{name}.low", prediction.interval.ranges[name].low
        yield f"interval.{name}.high", prediction.interval.ranges[name].high
    yield "memory.total", prediction.memory.total


def run_here(sweep: Sweep, numbers: Sequence[int], workers: int) -> Iterator[list[SweepRow]]:
    """Yield the rows of scenarios *numbers*, predicted by *workers* processes, or by this one if there are few.

    InputError if a worker is killed.
    """
    if workers == 1 or len(numbers) <= CHUNK:
        for tasks in _chunks(sweep, numbers):
            yield _rows(sweep, tasks, predict_tasks(tasks, sweep.folders))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)
    try:
        yield from _from_pool(pool, sweep, numbers, _AHEAD * workers)
    except BrokenProcessPool:
        raise InputError("a worker process was killed; finished rows are kept, run again to resume") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _from_pool(pool: ProcessPoolExecutor, sweep: Sweep, numbers: Sequence[int], ahead: int) -> Iterator[list[SweepRow]]:
    chunks = _chunks(sweep, numbers)
    in_flight: dict[Future[list[SweepRow]], Sequence[Task]] = {}
    while True:
        for tasks in islice(chunks, ahead - len(in_flight)):
            in_flight[pool.submit(predict_tasks, tasks, sweep.folders)] = tasks
        if not in_flight:
            return
        for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
            yield _rows(sweep, in_flight.pop(future), future.result())


def _start_worker() -> None:
    """Ignore Ctrl-C, which the parent handles, and exit when the parent exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_on_dask(sweep: Sweep, numbers: Sequence[int], address: str) -> Iterator[list[SweepRow]]:
    """Yield the rows of scenarios *numbers*, predicted by the workers of the Dask scheduler at *address*.

    The chunk of a lost worker goes to another. Files that are named in values must exist on the workers. InputError if
    distributed is not installed, or the scheduler does not answer or loses its workers.
    """
    if find_spec("distributed") is None:
        raise InputError("--scheduler needs Dask: pip install 'lbsim[dask]'")
    from distributed import KilledWorker, as_completed  # noqa: PLC0415 - optional, see above

    client = _client(address)
    try:
        chunks = _chunks(sweep, numbers)
        in_flight: dict[Any, Sequence[Task]] = {}

        def send(chunk_count: int) -> list[Any]:
            sent = {_submit(client, tasks, sweep): tasks for tasks in islice(chunks, chunk_count)}
            in_flight.update(sent)
            return list(sent)

        futures = as_completed(send(_AHEAD * sum(client.nthreads().values())), loop=client.loop)
        for future in futures:
            yield _rows(sweep, in_flight.pop(future), future.result())
            futures.update(send(1))
    except KilledWorker:
        raise InputError(f"--scheduler {address}: its workers exit one after another; run again to resume") from None
    except ImportError as error:
        raise InputError(f"--scheduler {address}: a package is missing on its workers: {error}") from None
    except (OSError, _cancelled()) as error:
        raise InputError(f"--scheduler {address}: connection lost: {error}; finished rows are kept") from None
    finally:
        client.close(timeout=_TIMEOUT)


def _submit(client: Any, tasks: Sequence[Task], sweep: Sweep) -> Any:
    return client.submit(predict_tasks, tasks, sweep.folders, pure=False)


def _client(address: str) -> Any:
    """Return a client of the scheduler at *address* once it has a worker; InputError after the timeout."""
    from distributed import Client  # noqa: PLC0415 - optional, see above

    if _ADDRESS.fullmatch(address) is None:
        raise InputError(f"--scheduler {address}: not an address; write e.g. tcp://host:8786")
    try:
        asyncio.run(asyncio.wait_for(_identify(address), _TIMEOUT))
        client = Client(address, timeout=_TIMEOUT, set_as_default=False)
    except TimeoutError:
        raise InputError(f"--scheduler {address}: no answer within {_TIMEOUT} s") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler {address}: {' '.join(str(error).split())}") from None
    try:
        client.wait_for_workers(1, timeout=_TIMEOUT)
    except TimeoutError:
        client.close(timeout=_TIMEOUT)
        raise InputError(f"--scheduler {address}: it has no worker") from None
    return client


async def _identify(address: str) -> None:
    """Request a scheduler's identity; a client would wait for ever if another program listens."""
    from distributed.core import rpc  # noqa: PLC0415 - optional, see above

    async with rpc(address) as scheduler:
        await scheduler.identity()


def _cancelled() -> type[Exception]:
    from distributed.client import FutureCancelledError  # noqa: PLC0415 - optional, see above

    error: type[Exception] = FutureCancelledError
    return error


def _chunks(sweep: Sweep, numbers: Sequence[int]) -> Iterator[Sequence[Task]]:
    for start in range(0, len(numbers), CHUNK):
        yield [sweep.task(number) for number in numbers[start : start + CHUNK]]


def _rows(sweep: Sweep, tasks: Sequence[Task], predicted: Sequence[SweepRow]) -> list[SweepRow]:
    return [sweep.row(task, row) for task, row in zip(tasks, predicted, strict=True)]
