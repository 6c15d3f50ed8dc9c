"""Communication streams: collectives one after another, concurrent with compute; a thread on CPUs, a stream on GPUs."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch

__all__ = ["CudaStream", "Stream", "ThreadStream", "Wait", "communication_stream"]

Wait = Callable[[], None]
"""Returns when a task is done; on a GPU, makes the current stream wait for it."""


class Stream(Protocol):
    """Runs tasks in the order in which they are submitted."""

    def submit(self, task: Callable[[], None]) -> Wait:
        """Start *task* after the tasks submitted before and after the compute so far; return at once."""
        ...

    def close(self) -> None:
        """Wait for the submitted tasks and release the stream."""
        ...


class ThreadStream:
    """Stream in a thread, which waits in the communication library without holding Python's lock."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lbsim-communication")
        self._failure: Exception | None = None

    def submit(self, task: Callable[[], None]) -> Wait:
        """Run *task* in the thread."""
        future: Future[None] = self._thread.submit(self._run, task)
        return future.result

    def close(self) -> None:
        """Wait for the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _run(self, task: Callable[[], None]) -> None:
        """Run *task* unless an earlier one failed: each later one would wait for the timeout again."""
        if self._failure is not None:
            raise self._failure
        try:
            task()
        except Exception as error:
            self._failure = error
            raise


class CudaStream:
    """CUDA stream whose tasks run after what is queued on the current stream."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def submit(self, task: Callable[[], None]) -> Wait:
        """Queue *task* on the stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            task()
            done = self._stream.record_event()
        return lambda: torch.cuda.current_stream(self._stream.device).wait_event(done)

    def close(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()


def communication_stream(device: torch.device) -> Stream:
    """Return a stream for the tensors of *device*."""
    return CudaStream(device) if device.type == "cuda" else ThreadStream()
