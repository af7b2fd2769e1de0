"""A remote store that fails midway: one sentence that names the URL, and what was there stays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import fsspec  # type: ignore[import-untyped]
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

import fxarchive
from fxarchive.errors import StoreError

from .synthetic import OLDER, steps, stream_archive

URL = "failing://bucket/a.fxa"
VALUE = {"w": torch.zeros(1 << 16)}


class NoAnswer(Exception):
    """What a client of some store raises; no `OSError`."""


class Failing(MemoryFileSystem):  # type: ignore[misc]
    """A store in memory whose files fail when so many calls of a kind were made."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    calls: ClassVar[dict[str, int]] = {}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.count("open")
        if mode == "rb":
            return Reader(io.BytesIO(super()._open(path, mode, **options).getvalue()), self)
        file = super()._open(path, mode, **options)
        for name in ("write", "commit"):
            setattr(file, name, self.counted(name, getattr(file, name)))
        return file

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any) -> Any:
            self.count(name)
            return call(*args)

        return counting

    @classmethod
    def count(cls, name: str) -> None:
        left = cls.calls.get(name)
        if left is not None:
            cls.calls[name] = left - 1
            if left == 0:
                raise NoAnswer("the store does not answer")


class Reader(io.BufferedReader):
    def __init__(self, raw: Any, store: Failing) -> None:
        super().__init__(raw)
        self.store = store

    def read(self, size: int | None = -1) -> bytes:
        self.store.count("read")
        return super().read(size)


@pytest.fixture(autouse=True)
def store() -> Iterator[dict[str, Any]]:
    fsspec.register_implementation("failing", Failing, clobber=True)
    Failing.store.clear()
    Failing.calls.clear()
    yield Failing.store
    Failing.calls.clear()


def held(store: dict[str, Any]) -> dict[str, bytes]:
    return {name: file.getvalue() for name, file in store.items()}


def after(name: str, calls: int, act: Callable[[], object]) -> bool:
    """Whether ``act`` fails, as it should, when so many calls were made."""
    Failing.calls[name] = calls
    said = None
    try:
        act()
    except StoreError as error:
        said = str(error)
    Failing.calls.clear()
    assert said in (None, f"{URL}: the store does not answer.")
    return said is not None


@pytest.mark.parametrize("name", ["open", "write", "commit"])
def test_a_save_that_fails_leaves_nothing(store: dict[str, Any], name: str) -> None:
    calls = 0
    while after(name, calls, lambda: fxarchive.save(VALUE, URL)):
        assert held(store) == {}
        calls += 1
    assert calls
    assert fxarchive.load(URL)["w"].shape == (1 << 16,)


@pytest.mark.parametrize("name", ["write", "commit"])
def test_a_save_that_fails_leaves_what_was_there(store: dict[str, Any], name: str) -> None:
    fxarchive.save([1], URL)
    before = held(store)
    assert after(name, 0, lambda: fxarchive.save(VALUE, URL))
    assert held(store) == before


READ: dict[str, Callable[[], object]] = {
    "load": lambda: fxarchive.load(URL, verify="all"),
    "inspect": lambda: fxarchive.inspect(URL),
    "adopt": lambda: fxarchive.adopt(URL, io.BytesIO(), torch="2.13"),
}


@pytest.mark.parametrize("act", READ)
def test_a_read_that_fails(act: str, store: dict[str, Any]) -> None:
    if act == "adopt":
        fsspec.filesystem("failing").pipe(URL, b"\x80\x04N.")
    else:
        fxarchive.save(VALUE, URL)
    calls = 0
    while after("read", calls, READ[act]):
        calls += 1
    assert calls


@pytest.mark.parametrize("name", ["open", "read", "write", "commit"])
def test_an_upgrade_that_fails_leaves_what_was_there(store: dict[str, Any], name: str) -> None:
    fsspec.filesystem("failing").pipe(URL, old := stream_archive())
    calls = 0
    with steps(OLDER):
        while after(name, calls, lambda: fxarchive.upgrade(URL)):
            # what is put in its place and cannot be read back is whole
            done = held(store)[URL] != old
            assert not done or name in ("open", "read")
            if done:
                fsspec.filesystem("failing").pipe(URL, old)
            calls += 1
    assert calls
    assert fxarchive.inspect(URL).schema == 2
