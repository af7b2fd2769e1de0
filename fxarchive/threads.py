"""Threads beside the caller's, which an interrupt neither locks up nor leaves behind.

Control-C in `Thread.start` or `Thread.join` can leave a lock behind that nobody gives back; none can here.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """Threads that do some work each. Use them as a context: when that ends, none does anything any more.

    Attributes:
        stopped: whether `stop` was called, as the end of the context does; long work looks at it now and then.

    >>> done = []
    >>> with Threads() as threads:
    ...     threads.start(lambda: done.append("work"))
    ...     threads.wait()
    >>> done
    ['work']
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.stopped = False
        self._started = 0
        # a thread says itself that it has begun, since an interrupt can come between any two steps of who starts it
        self._begun: set[object] = set()
        self._ended: set[object] = set()
        self._errors: list[BaseException] = []
        self._news: SimpleQueue[None] = SimpleQueue()

    def start(self, work: Callable[[], None]) -> None:
        """Do ``work`` in a thread of its own, unless they are stopped before it begins.

        Raises:
            RuntimeError: the system grants no more threads.
        """
        _thread.start_new_thread(self._run, (object(), work))
        self._started += 1

    def wait(self) -> None:
        """Wait until all work is done, and raise the first error of it."""
        while len(self._ended) < self._started:
            self._news.get()
        if self._errors:
            raise self._errors[0]

    def stop(self) -> None:
        """Let no other work begin, and wait until that which has begun is done."""
        self.stopped = True
        while True:
            try:
                while self._begun - self._ended:
                    self._news.get()
            except KeyboardInterrupt:  # there is nothing but this wait left to interrupt
                continue
            return

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, thread: object, work: Callable[[], None]) -> None:
        self._begun.add(thread)
        try:
            if not self.stopped:
                work()
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._ended.add(thread)
            self._news.put(None)
