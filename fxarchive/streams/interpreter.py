"""An interpreter of pickle opcodes that looks nothing up and calls nothing.

It does what a pickle machine does with its stack and its memo, and where a pickle machine would import, call or build,
it makes a record. Every opcode makes at most one object, so memory is bounded by the number of opcodes and the
bytes of the stream; nothing recurses, so nesting costs nothing; a memo is a dict, so a large index costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from fxarchive.errors import BadStream, TooLarge
from fxarchive.streams.bounds import DEFAULT_BOUNDS, Bounds
from fxarchive.streams.machine import PROTOCOLS, Machine, Made
from fxarchive.streams.records import NOTHING, Call, FrozenSet, Pairs, PersistentId, Set


def read(
    data: bytes,
    where: str = "the stream",
    bounds: Bounds = DEFAULT_BOUNDS,
    made: Made | None = None,
) -> Any:
    """Return what a pickle stream says, as records; nothing that it names is imported or called.

    Args:
        data: the whole stream.
        where: name of the stream, for errors.
        bounds: how much it may ask for.
        made: given the record of each call, returns the record to put in its place.

    Raises:
        BadStream: it is no pickle of protocol 2 to 5, or a broken one.
        TooLarge: it is over a bound.

    >>> import pickle
    >>> read(pickle.dumps((1, "a", [2.5])))
    (1, 'a', [2.5])
    >>> read(pickle.dumps(print))
    Name('builtins.print')
    """
    value, end = read_next(data, 0, where, bounds, made)
    if end != len(data):
        raise BadStream(where, f"{len(data) - end} bytes follow its end")
    return value


def read_next(
    data: bytes,
    start: int,
    where: str,
    bounds: Bounds = DEFAULT_BOUNDS,
    made: Made | None = None,
) -> tuple[Any, int]:
    """Return what the pickle that begins at byte ``start`` says, and the byte after its end.

    Args and errors as for `read`.
    """
    machine = Machine(data, where, bounds, made)
    if data[start : start + 1] != b"\x80" or len(data) < start + 2 or data[start + 1] not in PROTOCOLS:
        raise BadStream(where, "it does not begin as a pickle of protocol 2 to 5 does")
    machine.at = start
    steps = _STEPS
    left = bounds.opcodes
    while True:
        if machine.at >= machine.end:
            raise machine.fail("it ends without STOP")
        code = data[machine.at]
        machine.at += 1
        if code == _STOP:
            break
        step = steps[code]
        if step is None:
            machine.at -= 1
            raise machine.fail(f"the opcode {code:#04x} is not read: {_REFUSED.get(code, 'it is unknown')}")
        left -= 1
        if left < 0:
            raise TooLarge(f"The number of opcodes of {where}", bounds.opcodes + 1, bounds.opcodes)
        step(machine)
    if machine.marks or len(machine.stack) != 1:
        raise machine.fail("it leaves more or less than one value")
    return machine.stack[0], machine.at


# atoms


def _push(value: Any) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(value)


def _number(code: str) -> Callable[[Machine], None]:
    layout = struct.Struct(code)

    def step(m: Machine) -> None:
        m.stack.append(layout.unpack(m.take(layout.size))[0])

    return step


def _counted(code: str, convert: Callable[[Machine, bytes], Any]) -> Callable[[Machine], None]:
    layout = struct.Struct(code)

    def step(m: Machine) -> None:
        (length,) = layout.unpack(m.take(layout.size))
        if length < 0:
            raise m.fail("it announces a negative length")
        m.stack.append(convert(m, m.take(length)))

    return step


def _text(m: Machine, data: bytes) -> str:
    try:
        return str(data, "utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise m.fail("a string is not UTF-8") from None


def _bytes(m: Machine, data: bytes) -> bytes:
    return data


def _bytearray(m: Machine, data: bytes) -> bytearray:
    return bytearray(data)


def _integer(m: Machine, data: bytes) -> int:
    if len(data) > m.bounds.integer_bytes:
        raise TooLarge(f"An integer of {m.where}", len(data), m.bounds.integer_bytes)
    return int.from_bytes(data, "little", signed=True)


# containers


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.to_mark()


def _pop_mark(m: Machine) -> None:
    m.to_mark()


def _dup(m: Machine) -> None:
    m.stack.append(m.top())


def _tuple(m: Machine) -> None:
    items = m.to_mark()
    m.stack.append(tuple(items))


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        if len(m.stack) < count:
            raise m.fail("it takes more from the stack than it put there")
        items = tuple(m.stack[-count:])
        del m.stack[-count:]
        m.stack.append(items)

    return step


def _list(m: Machine) -> None:
    items = m.to_mark()
    m.stack.append(items)


def _dict(m: Machine) -> None:
    items = m.to_mark()
    m.stack.append(Pairs(_paired(m, items)))


def _frozenset(m: Machine) -> None:
    items = m.to_mark()
    m.stack.append(FrozenSet(items))


def _paired(m: Machine, items: list[Any]) -> list[tuple[Any, Any]]:
    if len(items) % 2:
        raise m.fail("a dict has a key without a value")
    return list(zip(items[::2], items[1::2], strict=True))


def _append(m: Machine) -> None:
    item = m.pop()
    _items_of(m).append(item)


def _appends(m: Machine) -> None:
    items = m.to_mark()
    _items_of(m).extend(items)


def _items_of(m: Machine) -> list[Any]:
    target = m.top()
    if type(target) is list:
        return target
    if type(target) is Call:
        return target.items
    raise m.fail("it appends to something that is no list")


def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    _entries_of(m).append((key, value))


def _setitems(m: Machine) -> None:
    pairs = _paired(m, m.to_mark())
    _entries_of(m).extend(pairs)


def _entries_of(m: Machine) -> list[tuple[Any, Any]]:
    target = m.top()
    if type(target) is Pairs:
        return target.items
    if type(target) is Call:
        return target.entries
    raise m.fail("it sets an item of something that is no dict")


def _additems(m: Machine) -> None:
    items = m.to_mark()
    target = m.top()
    if type(target) is not Set:
        raise m.fail("it adds members to something that is no set")
    target.items.extend(items)


# the memo


def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.top()


def _put(code: str) -> Callable[[Machine], None]:
    layout = struct.Struct(code)

    def step(m: Machine) -> None:
        m.memo[layout.unpack(m.take(layout.size))[0]] = m.top()

    return step


def _get(code: str) -> Callable[[Machine], None]:
    layout = struct.Struct(code)

    def step(m: Machine) -> None:
        (index,) = layout.unpack(m.take(layout.size))
        if index not in m.memo:
            raise m.fail(f"it refers to memo entry {index}, which it did not make")
        m.stack.append(m.memo[index])

    return step


# what a pickle machine would import, call or build


def _global(m: Machine) -> None:
    module = m.line()
    m.stack.append(m.name(module, m.line()))


def _stack_global(m: Machine) -> None:
    qualname, module = m.pop(), m.pop()
    m.stack.append(m.name(module, qualname))


def _reduce(m: Machine) -> None:
    args, function = m.pop(), m.pop()
    call = Call(function, args)
    m.stack.append(call if m.made is None else m.made(call))


def _newobj(m: Machine) -> None:
    args, cls = m.pop(), m.pop()
    m.stack.append(Call(cls, args, new=True))


def _newobj_ex(m: Machine) -> None:
    kwargs, args, cls = m.pop(), m.pop(), m.pop()
    m.stack.append(Call(cls, args, kwargs, new=True))


def _build(m: Machine) -> None:
    state, target = m.pop(), m.top()
    if type(target) is not Call:
        raise m.fail("it gives state to something that it did not make")
    if target.state is not NOTHING:
        raise m.fail("it gives state to one object twice")
    target.state = state


def _persistent(m: Machine) -> None:
    m.stack.append(PersistentId(m.pop()))


def _protocol(m: Machine) -> None:
    if m.take(1)[0] not in PROTOCOLS:
        raise m.fail("it is of a protocol that is not read")


def _frame(m: Machine) -> None:
    (length,) = struct.unpack("<Q", m.take(8))
    if length > m.end - m.at:
        raise m.fail("a frame is longer than what follows it")


_STOP = 0x2E

_TABLE: dict[int, Callable[[Machine], None]] = {
    0x80: _protocol,
    0x95: _frame,
    0x4E: _push(None),
    0x88: _push(True),
    0x89: _push(False),
    0x4B: _number("<B"),
    0x4D: _number("<H"),
    0x4A: _number("<i"),
    0x47: _number(">d"),
    0x8A: _counted("<B", _integer),
    0x8B: _counted("<i", _integer),
    0x8C: _counted("<B", _text),
    0x58: _counted("<I", _text),
    0x8D: _counted("<Q", _text),
    0x43: _counted("<B", _bytes),
    0x42: _counted("<I", _bytes),
    0x8E: _counted("<Q", _bytes),
    0x96: _counted("<Q", _bytearray),
    0x28: _mark,
    0x30: _pop,
    0x31: _pop_mark,
    0x32: _dup,
    0x29: lambda m: m.stack.append(()),
    0x85: _tuple_of(1),
    0x86: _tuple_of(2),
    0x87: _tuple_of(3),
    0x74: _tuple,
    0x5D: lambda m: m.stack.append([]),
    0x6C: _list,
    0x61: _append,
    0x65: _appends,
    0x7D: lambda m: m.stack.append(Pairs()),
    0x64: _dict,
    0x73: _setitem,
    0x75: _setitems,
    0x8F: lambda m: m.stack.append(Set()),
    0x90: _additems,
    0x91: _frozenset,
    0x94: _memoize,
    0x71: _put("<B"),
    0x72: _put("<I"),
    0x68: _get("<B"),
    0x6A: _get("<I"),
    0x63: _global,
    0x93: _stack_global,
    0x52: _reduce,
    0x81: _newobj,
    0x92: _newobj_ex,
    0x62: _build,
    0x51: _persistent,
}

_STEPS = [_TABLE.get(code) for code in range(256)]

_OLD = "no writer of torch uses it"
_REFUSED = {
    **dict.fromkeys(b"FILSVgpPiTU", _OLD),
    ord("o"): _OLD,
    **dict.fromkeys((0x82, 0x83, 0x84), "it names a thing by a number that only a process knows"),
    **dict.fromkeys((0x97, 0x98), "it refers to a buffer outside the stream"),
}
"""Opcodes that exist and are not read, and why."""
