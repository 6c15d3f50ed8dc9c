"""A lane carries collectives one after another beside the computation: a thread on CPUs, a stream on GPUs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch

Wait = Callable[[], None]
"""Returns when a job is done; on a GPU, when what this stream does next will come after it."""


class Lane(Protocol):
    """Runs jobs in the order in which they are sent."""

    def send(self, job: Callable[[], None]) -> Wait:
        """Start *job* after those sent before and after what has been computed so far, and return at once."""
        ...

    def close(self) -> None:
        """Wait for the jobs sent and free what the lane holds."""
        ...


class ThreadLane:
    """Jobs run in a thread of their own, which waits in the communication library without holding Python's lock."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lbsim-communication")
        self._failure: Exception | None = None

    def send(self, job: Callable[[], None]) -> Wait:
        """Run *job* in the thread."""
        future: Future[None] = self._thread.submit(self._run, job)
        return future.result

    def close(self) -> None:
        """Wait for the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _run(self, job: Callable[[], None]) -> None:
        """Run *job*, unless one before it failed: those after it would each wait for the time limit."""
        if self._failure is not None:
            raise self._failure
        try:
            job()
        except Exception as error:
            self._failure = error
            raise


class StreamLane:
    """Jobs are queued on a CUDA stream of their own, after what the current stream holds."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def send(self, job: Callable[[], None]) -> Wait:
        """Queue *job* on the stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            job()
            done = self._stream.record_event()
        return lambda: torch.cuda.current_stream(self._stream.device).wait_event(done)

    def close(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()


def lane(device: torch.device) -> Lane:
    """Return a lane for tensors on *device*."""
    return StreamLane(device) if device.type == "cuda" else ThreadLane()
