"""Threads that nothing leaves behind: not an error, not an interrupt, not the end of their context."""

from __future__ import annotations

import _thread
import signal
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from fxarchive.threads import Threads


def slow(done: list[int], number: int) -> Callable[[], None]:
    def work() -> None:
        time.sleep(0.05)
        done.append(number)

    return work


def test_all_work_is_waited_for() -> None:
    done: list[int] = []
    with Threads() as threads:
        for number in range(9):
            threads.start(slow(done, number))
        threads.wait()
        assert sorted(done) == list(range(9))
        threads.start(slow(done, 9))
        threads.wait()
        threads.wait()
    assert done[-1] == 9


def test_an_error_of_the_work_is_raised_where_it_is_waited_for() -> None:
    def fails() -> None:
        raise OSError("the disk is gone")

    done: list[int] = []
    with Threads() as threads:
        threads.start(fails)
        threads.start(slow(done, 1))
        with pytest.raises(OSError, match="the disk is gone"):
            threads.wait()
        assert done == [1]


def test_at_the_end_of_the_context_nothing_works_any_more() -> None:
    """What has begun is stopped and waited for."""
    begun: SimpleQueue[None] = SimpleQueue()
    ended: list[bool] = []

    def work() -> None:
        begun.put(None)
        while not threads.stopped:
            time.sleep(0.01)
        time.sleep(0.05)
        ended.append(True)

    def interrupted() -> None:
        with threads:
            threads.start(work)
            begun.get()
            raise KeyboardInterrupt

    threads = Threads()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended == [True]


def test_what_begins_after_the_end_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[tuple[Any, Any]] = []
    monkeypatch.setattr(_thread, "start_new_thread", lambda run, args: waiting.append((run, args)))
    done: list[int] = []
    with Threads() as threads:
        threads.start(slow(done, 1))
    ((run, args),) = waiting
    run(*args)
    assert done == []


def test_an_interrupt_while_the_end_is_waited_for_changes_nothing() -> None:
    begun: SimpleQueue[None] = SimpleQueue()
    ended: list[bool] = []

    def work() -> None:
        begun.put(None)
        while not threads.stopped:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.3)
        ended.append(True)

    main = _thread.get_ident()
    with Threads() as threads:
        threads.start(work)
        begun.get()
    assert ended == [True]
