"""Document <-> bytes: a pickle that holds data and nothing that could be called.

A payload is a protocol 5 pickle of None, bool, int, float, str, bytes, list and dict with str keys, without a
memo, so that its bytes depend on the values alone. `spec/wire.md` lists the opcodes. Reading takes four
visible steps: check the opcodes, unpickle with an unpickler that can look nothing up, check nesting and keys,
check that no key came twice.
"""

from __future__ import annotations

import functools
import gc
import io
import pickle
import re
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from fxarchive.errors import CorruptArchive, FxArchiveError, Problem, TooLarge, UnsupportedValue
from fxarchive.limits import DEFAULT_LIMITS, Limits

MAX_DEPTH = 384
"""Nesting of lists and dicts, the document being level 1. CPython 3.10's pickler manages 490."""

MAX_INT_BYTES = 64 * 1024
"""Bytes of one int in two's complement."""

PROTOCOL = 5
WHERE = "the graph section"

_START = bytes([0x80, PROTOCOL])
_FRAME, _STOP = 0x95, 0x2E
_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS = frozenset({list, dict})
_KINDS = _ATOMS | _CONTAINERS

_SHORT = 96
"""Strings shorter than this are matched by the regular expression; one alternative a length."""

_RUN = 4096
"""Opcodes that one match takes at most: sre keeps a few hundred bytes for each."""

_LENGTHS: dict[int, struct.Struct] = {
    ord("C"): struct.Struct("<B"),
    ord("B"): struct.Struct("<I"),
    0x8E: struct.Struct("<Q"),
    0x8C: struct.Struct("<B"),
    ord("X"): struct.Struct("<I"),
    0x8D: struct.Struct("<Q"),
    0x8A: struct.Struct("<B"),
    0x8B: struct.Struct("<I"),
}
"""Opcodes with a length before their argument: bytes, strings, long ints."""

_STRINGS = frozenset({0x8C, ord("X"), 0x8D})
_LONG_INTS = frozenset({0x8A, 0x8B})
_FIXED = {**dict.fromkeys(b"N\x88\x89](eas}u", 0), ord("K"): 1, ord("M"): 2, ord("J"): 4, ord("G"): 8}
"""Opcodes with an argument of fixed width, in bytes."""


# writing


def dumps(document: Any, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the payload of ``document``; equal documents give equal bytes in every process.

    Args:
        document: None, bool, int, float, str, bytes, list and dict with str keys, of exactly these types.
        limits: `Limits.payload_bytes` bounds the result.

    Raises:
        UnsupportedValue: a value has another type; the path of each is listed.
        TooLarge: the payload, its nesting or one int is over its limit.

    >>> dumps({"nodes": [1, None]}).hex(" ", 1)
    '80 05 95 10 00 00 00 00 00 00 00 7d 8c 05 6e 6f 64 65 73 5d 28 4b 01 4e 65 73 2e'
    """
    sink = _Sink(limits.payload_bytes)
    try:
        _pickle(document, sink)
    except FxArchiveError:
        raise
    except Exception:
        _explain(document)
    if not _is_plain(document):
        _explain(document)
    payload = sink.getvalue()
    check_opcodes(payload)
    return payload


class _Sink(io.BytesIO):
    """Memory for a payload that may not outgrow its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def write(self, chunk: Any) -> int:
        size = self.tell() + len(chunk)
        if size > self.limit:
            raise TooLarge("The size of the document in bytes", size, self.limit)
        return super().write(chunk)


def _pickle(document: Any, sink: Any) -> None:
    start = sink.tell()

    def dump() -> None:
        sink.seek(start)
        pickler = pickle.Pickler(sink, PROTOCOL)
        pickler.fast = True
        pickler.dump(document)

    try:
        dump()
    except RecursionError:
        # The caller may be near the recursion limit with a document that is not: a new thread starts at zero.
        _in_new_thread(dump)


def _in_new_thread(call: Callable[[], None]) -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _explain(document: Any) -> NoReturn:
    """Raise the error that says what in ``document`` has no place in a payload."""
    problems: list[Problem] = []
    pending: list[tuple[str, int, Any]] = [("document", 1, document)]
    while pending:
        path, depth, value = pending.pop()
        kind = type(value)
        if kind in _CONTAINERS and depth > MAX_DEPTH:
            raise TooLarge("The nesting depth of the document", depth, MAX_DEPTH)
        if kind is list:
            pending += [
                (f"{path}[{row}]", depth + 1, item) for row, item in enumerate(value) if type(item) is not int
            ]
        elif kind is dict:
            for key, item in value.items():
                if type(key) is not str:
                    problems.append(
                        Problem(path, f"it has the key {key!r:.80}, and keys must be of type str")
                    )
                pending.append((f"{path}[{key!r:.80}]", depth + 1, item))
        elif kind not in _ATOMS:
            problems.append(
                Problem(path, f"it is of type {kind.__module__}.{kind.__qualname__}, which is not plain data")
            )
    if not problems:
        problems.append(Problem("document", "the pickler of this interpreter refused it"))
    raise UnsupportedValue(problems)


# reading


def loads(payload: bytes, limits: Limits = DEFAULT_LIMITS, most: int | None = None) -> dict[str, Any]:
    """Return the document of ``payload``. Nothing in the payload can name, import or call anything.

    Args:
        payload: what `dumps` returned, or bytes from anywhere.
        limits: `Limits.payload_bytes` bounds the size.
        most: bounds what `check_opcodes` counts; the objects take at most about 100 times as much.

    Raises:
        CorruptArchive: it is not a data-only pickle of a dict, whole and without surplus.
        TooLarge: its size, its nesting or one int is over its limit.

    >>> loads(dumps({"nodes": [1, None]}))
    {'nodes': [1, None]}
    """
    if len(payload) > limits.payload_bytes:
        raise TooLarge("The size of the document in bytes", len(payload), limits.payload_bytes)
    payload = bytes(payload)
    check_opcodes(payload, most)
    document = _unpickle(payload)
    if type(document) is not dict:
        raise _corrupt("the document is not a dict")
    if not _is_plain(document):
        raise _corrupt("a key of a dict is not a string")
    if not _is_canonical(document, payload):
        _check_keys(payload)
    return document


def check_opcodes(payload: bytes, most: int | None = None) -> int:
    """Check that ``payload`` is PROTO 5, then opcodes of the closed set with whole arguments, then STOP.

    Args:
        payload: the bytes.
        most: how many bytes may be anything but arguments of long strings, bytes and long ints; None for any number.

    Returns:
        How many are, an upper bound of the number of objects.

    Raises:
        CorruptArchive: another opcode (named, with its offset), or an argument that does not fit.
        TooLarge: they are more than ``most``, or an int is longer than `MAX_INT_BYTES`.
    """
    if payload[:2] != _START:
        raise _corrupt("its pickle does not begin with PROTO 5")
    match, end, framed = _run_of_opcodes().match, len(payload), 0
    at, long = 2, 0
    while True:
        if most is not None and at - long > most:
            raise TooLarge("The size of the values of the document in bytes", at - long, most)
        found = match(payload, at)
        reached = found.end() if found else at
        if reached > at:
            at = reached
            continue
        if at >= end:
            raise _corrupt("its pickle ends without STOP")
        opcode = payload[at]
        if opcode in _LENGTHS:
            start, at = _argument(payload, at)
            long += at - start
        elif opcode == _FRAME:
            if at < framed or at + 9 > end:
                raise _corrupt(f"the frame at byte {at} overlaps another or has no length")
            framed = at + 9 + int(struct.unpack_from("<Q", payload, at + 1)[0])
            if framed > end:
                raise _corrupt(f"the frame at byte {at} is longer than what follows it")
            at += 9
        elif opcode == _STOP:
            if at + 1 != end:
                raise _corrupt(f"{end - at - 1} bytes follow STOP")
            return at - long
        elif opcode in _FIXED:
            raise _corrupt(f"the argument of the opcode at byte {at} is cut off")
        else:
            raise _corrupt(f"the opcode {_opcode_name(opcode)} at byte {at} is not one of plain data")


def _argument(payload: bytes, at: int) -> tuple[int, int]:
    """Return where the argument of the opcode at ``at``, which has a length, begins and ends."""
    width = _LENGTHS[payload[at]]
    start = at + 1 + width.size
    if start > len(payload):
        raise _corrupt(f"the argument of the opcode at byte {at} is cut off")
    length: int = width.unpack_from(payload, at + 1)[0]
    if length > len(payload) - start:
        raise _corrupt(f"the opcode at byte {at} announces {length} bytes, more than follow it")
    if payload[at] in _LONG_INTS and length > MAX_INT_BYTES:
        raise TooLarge("The size of an int in bytes", length, MAX_INT_BYTES)
    return start, start + length


@functools.cache
def _run_of_opcodes() -> re.Pattern[bytes]:
    """Compile what matches a run of opcodes of fixed width and of short strings.

    sre skips an alternative by its first literal byte. Equal small opcodes are unrolled, which makes columns
    three times as fast. Nothing follows the repeat, so that sre never backtracks into it, and the repeat is
    bounded, because sre remembers each round of it.
    """
    short = b"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in range(1, _SHORT))
    one = (
        rb"K.K.K.K.|M..M..M..M..|NNNNNNNN|K.|M..|[\](eaNs}u\x88\x89]|\x8c(?:\x00|" + short + rb")|J.{4}|G.{8}"
    )
    return re.compile(rb"(?:" + one + rb"){0,%d}" % _RUN, re.DOTALL)


class _Unpickler(pickle.Unpickler):
    """The C unpickler without its ways to the outside, which no opcode of the closed set would use."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError("a payload names no classes")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("a payload has no persistent objects")


def _unpickle(payload: bytes) -> Any:
    enabled = gc.isenabled()
    gc.disable()  # nothing of what is built can be garbage, and looking for it takes half the time
    try:
        return _Unpickler(io.BytesIO(payload)).load()
    except Exception as error:
        raise _corrupt(f"its pickle is malformed ({error})") from error
    finally:
        if enabled:
            gc.enable()


def _is_plain(document: Any) -> bool:
    """Whether ``document`` has only exact plain types and str keys; checks `MAX_DEPTH` as well.

    `gc.get_referents` lists the items of all containers of a level in C, several times faster than a walk.
    """
    level, kinds, depth = [document], {type(document)}, 0
    while True:
        if not kinds <= _KINDS:
            return False
        if dict in kinds:
            level = [item for item in level if type(item) is list or type(item) is dict]
            if not all(type(item) is list or set(map(type, item)) <= {str} for item in level):
                return False
        else:
            # every list is tracked and no atom is
            level = list(filter(gc.is_tracked, level)) if list in kinds else []
        if not level:
            return True
        depth += 1
        if depth > MAX_DEPTH:
            raise TooLarge("The nesting depth of the document", depth, MAX_DEPTH)
        level = gc.get_referents(*level)
        kinds = set(map(type, level))


class _Differs(Exception):
    pass


class _Echo:
    """A file that takes exactly the bytes of ``payload``."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.at = payload, 0

    def tell(self) -> int:
        return self.at

    def seek(self, at: int) -> None:
        self.at = at

    def write(self, chunk: bytes) -> None:
        if not self.payload.startswith(chunk, self.at):
            raise _Differs
        self.at += len(chunk)


def _is_canonical(document: Any, payload: bytes) -> bool:
    """Whether ``document`` written again gives ``payload``: then no key came twice, or it would be lost."""
    echo = _Echo(payload)
    try:
        _pickle(document, echo)
    except (_Differs, RecursionError):
        return False
    return echo.at == len(payload)


def _check_keys(payload: bytes) -> None:
    """Refuse a payload with a dict that has a key twice; slow, for what another pickler framed otherwise."""
    stack: list[Any] = []
    marks: list[int] = []
    for opcode, argument in _operations(payload):
        if opcode == ord("}"):
            stack.append(())  # becomes a set with its first key: sets are large
        elif opcode == ord("("):
            marks.append(len(stack))
        elif opcode == ord("a"):
            stack.pop()
        elif opcode == ord("e"):
            del stack[marks.pop() :]
        elif opcode in b"su":
            start = len(stack) - 2 if opcode == ord("s") else marks.pop()
            pairs = stack[start:]
            del stack[start:]
            keys = stack[-1] = set() if stack[-1] == () else stack[-1]
            for key in pairs[::2]:
                if type(keys) is not set or key in keys:
                    raise _corrupt(f"a dict has the key {str(key, 'utf-8', 'replace')[:80]!r} twice")
                keys.add(key)
        else:
            stack.append(argument)


def _operations(payload: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield each opcode of a checked payload, with its argument where that is a string."""
    at = 2
    while (opcode := payload[at]) != _STOP:
        start = at + 1
        if opcode == _FRAME:
            at += 9
            continue
        start, at = _argument(payload, at) if opcode in _LENGTHS else (start, start + _FIXED[opcode])
        yield opcode, payload[start:at] if opcode in _STRINGS else None


def _corrupt(reason: str) -> CorruptArchive:
    return CorruptArchive(WHERE, reason)


def _opcode_name(opcode: int) -> str:
    import pickletools

    return {known.code: known.name for known in pickletools.opcodes}.get(chr(opcode), f"0x{opcode:02x}")
