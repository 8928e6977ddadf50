"""Share work among threads of which the caller is one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class SharedWork:
    """Threads that take one job after the other.

    A thread that sleeps takes up to milliseconds to wake, longer than some work takes; so the caller begins at once,
    and others help it when they come.
    """

    def __init__(self, num_threads: int = 1) -> None:
        """Take the number of threads, the caller's included; 1 starts none."""
        self._num_others = num_threads - 1
        self._others = ThreadPoolExecutor(self._num_others) if self._num_others > 0 else None

    def do(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
        """Return what `work` returns for each job, in their order.

        Raises:
            Exception: what `work` raised, once all threads have ended.
        """
        if self._others is None or len(jobs) < 2:
            return [work(job) for job in jobs]
        found: dict[int, Result] = {}
        waiting = deque(range(len(jobs)))

        def take() -> None:
            while True:
                try:
                    number = waiting.popleft()
                except IndexError:
                    return
                found[number] = work(jobs[number])

        others = [self._others.submit(take) for _ in range(min(self._num_others, len(jobs) - 1))]
        try:
            take()
        finally:
            waiting.clear()
            for other in others:
                other.result()
        return [found[number] for number in range(len(jobs))]
