"""Who predicts the scenarios of a sweep: this process, the cores of this machine, or a Dask cluster.

Each yields rows chunk by chunk, in whatever order they are done; a few chunks for each worker are under way at once.
distributed, the extra ``dask``, is imported where it is used: late, for who has no need of it.
"""

import asyncio
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import Any

from lbsim.analysis.sweep import Row, Sweep, Task, answers
from lbsim.errors import InputError

CHUNK = 16
"""Scenarios that are sent at once: about 0.1 s of work, beside which sending them is nothing."""
_AHEAD = 3
"""Chunks for each worker that are sent before others are done."""
_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?[^\s/]+:\d+")
_PATIENCE = 8
"""Seconds in which a scheduler answers, and in which its first worker is there."""


def cores() -> int:
    """Return how many cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # not every system has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def run_here(sweep: Sweep, numbers: Sequence[int], workers: int) -> Iterator[list[Row]]:
    """Yield the rows of scenarios *numbers*, predicted by *workers* processes; by this one if one is enough."""
    if workers == 1 or len(numbers) <= CHUNK:
        for tasks in _chunks(sweep, numbers):
            yield _rows(sweep, tasks, answers(tasks, sweep.folders))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker)
    try:
        yield from _from_pool(pool, sweep, numbers, _AHEAD * workers)
    except BrokenProcessPool:
        raise InputError("a worker process was killed; what was finished is kept, run again to go on") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _from_pool(pool: ProcessPoolExecutor, sweep: Sweep, numbers: Sequence[int], ahead: int) -> Iterator[list[Row]]:
    chunks = _chunks(sweep, numbers)
    under_way: dict[Future[list[Row]], Sequence[Task]] = {}
    while True:
        for tasks in islice(chunks, ahead - len(under_way)):
            under_way[pool.submit(answers, tasks, sweep.folders)] = tasks
        if not under_way:
            return
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            yield _rows(sweep, under_way.pop(future), future.result())


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_on_dask(sweep: Sweep, numbers: Sequence[int], address: str) -> Iterator[list[Row]]:
    """Yield the rows of scenarios *numbers*, predicted by the workers of the Dask scheduler at *address*.

    A chunk whose worker is lost is predicted by another. Paths of files that values name must exist on the workers.
    """
    if find_spec("distributed") is None:
        raise InputError("--scheduler needs Dask: pip install 'lbsim[dask]'")
    from distributed import KilledWorker, as_completed  # noqa: PLC0415 - late, see above

    client = _client(address)
    try:
        chunks = _chunks(sweep, numbers)
        under_way: dict[Any, Sequence[Task]] = {}

        def send(how_many: int) -> list[Any]:
            sent = {_submit(client, tasks, sweep): tasks for tasks in islice(chunks, how_many)}
            under_way.update(sent)
            return list(sent)

        futures = as_completed(send(_AHEAD * sum(client.nthreads().values())), loop=client.loop)
        for future in futures:
            yield _rows(sweep, under_way.pop(future), future.result())
            futures.update(send(1))
    except KilledWorker:
        raise InputError(f"--scheduler {address}: its workers are lost one after another; run again to go on") from None
    except ImportError as error:
        raise InputError(f"--scheduler {address}: its workers lack something: {error}") from None
    except (OSError, _cancelled()) as error:
        raise InputError(f"--scheduler {address}: lost: {error}; what was finished is kept") from None
    finally:
        client.close(timeout=_PATIENCE)


def _submit(client: Any, tasks: Sequence[Task], sweep: Sweep) -> Any:
    return client.submit(answers, tasks, sweep.folders, pure=False)


def _client(address: str) -> Any:
    """Return a client of the scheduler at *address*, which has a worker; InputError if there is none in time."""
    from distributed import Client  # noqa: PLC0415 - late, see above

    if _ADDRESS.fullmatch(address) is None:
        raise InputError(f"--scheduler {address}: no address; write e.g. tcp://host:8786")
    try:
        asyncio.run(asyncio.wait_for(_answers(address), _PATIENCE))
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except TimeoutError:
        raise InputError(f"--scheduler {address}: no answer within {_PATIENCE} s") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler {address}: {' '.join(str(error).split())}") from None
    try:
        client.wait_for_workers(1, timeout=_PATIENCE)
    except TimeoutError:
        client.close(timeout=_PATIENCE)
        raise InputError(f"--scheduler {address}: it has no worker") from None
    return client


async def _answers(address: str) -> None:
    """Ask a scheduler who it is; a client would wait for ever where something else listens."""
    from distributed.core import rpc  # noqa: PLC0415 - late, see above

    async with rpc(address) as scheduler:
        await scheduler.identity()


def _cancelled() -> type[Exception]:
    from distributed.client import FutureCancelledError  # noqa: PLC0415 - late, see above

    error: type[Exception] = FutureCancelledError
    return error


def _chunks(sweep: Sweep, numbers: Sequence[int]) -> Iterator[Sequence[Task]]:
    for start in range(0, len(numbers), CHUNK):
        yield [sweep.task(number) for number in numbers[start : start + CHUNK]]


def _rows(sweep: Sweep, tasks: Sequence[Task], answered: Sequence[Row]) -> list[Row]:
    return [sweep.row(task, row) for task, row in zip(tasks, answered, strict=True)]
