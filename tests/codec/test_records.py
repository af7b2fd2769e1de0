"""Instances of classes and values of the standard library: they come back as they were, and no code of theirs runs."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import decimal
import enum
import gc
import re
import subprocess
import sys
import threading
import types
import typing
import weakref
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

import fxarchive
from fxarchive import container
from fxarchive.codec.record_rules import why_not_a_record
from fxarchive.document import RECORDS
from fxarchive.errors import InvalidDocument, MissingOperator, UnsupportedValue, UntrustedNames

from ..compare import assert_same
from ..ids import shown
from ..material import configs
from ..material.configs import TRUST, CompileConfig, Key, Level, Mangled, Plain, Shape, Slotted
from .through import through_the_codec


def through(value: Any, trust: tuple[str, ...] = TRUST) -> Any:
    data = fxarchive.dumps(value)
    loaded = fxarchive.loads(data, trust=trust)
    assert fxarchive.dumps(loaded) == data
    return loaded


def features(value: Any) -> tuple[str, ...]:
    return container.open_archive(fxarchive.dumps(value)).header.features


# values of the standard library


NUMBERS = [
    numpy.dtype(name).type(1)
    for name in ("bool", "int8", "int64", "uint8", "uint64", "float16", "float32", "float64", "complex64", "complex128")
]  # fmt: skip


@pytest.mark.parametrize(
    "value", [*configs.STANDARD, torch.__version__, *NUMBERS, numpy.float32(-0.0)], ids=shown
)
def test_a_value_of_the_standard_library_comes_back(value: Any) -> None:
    loaded = through([value], ())[0]
    assert type(loaded) is type(value)
    assert repr(loaded) == repr(value)
    if not (isinstance(value, decimal.Decimal) and value.is_nan()):
        assert loaded == value
    for name in ("fold", "is_safe", "tzinfo"):
        assert getattr(loaded, name, None) == getattr(value, name, None)


@given(
    st.tuples(
        st.datetimes(timezones=st.none() | st.just(configs.ZONE)),
        st.timedeltas(),
        st.decimals(),
        st.fractions(),
    )
)
def test_any_value_of_the_standard_library_comes_back(values: Any) -> None:
    assert repr(fxarchive.loads(fxarchive.dumps(values))) == repr(values)


def test_the_feature_flag_is_there_only_when_it_is_needed() -> None:
    assert features([Path("x")]) == features(types.SimpleNamespace()) == (RECORDS,)
    assert features([1, "x", Shape(1), Level.NONE]) == ()


STANDARD_DOCUMENTS: list[Any] = [
    ["standard", "nothing", []],
    ["standard", "path", []],
    ["standard", "path", [1]],
    ["standard", "path", "x"],
    ["standard", "date", [2026, 2, 30]],
    ["standard", "date", [2026, True, 3]],
    ["standard", "datetime", [1, 1, 1, 0, 0, 0, 0, 2, None]],
    ["standard", "datetime", [1, 1, 1, 0, 0, 0, 0, 0, ["standard", "path", ["x"]]]],
    ["standard", "timezone", [["standard", "timedelta", [3, 0, 0]], None]],
    ["standard", "timezone", [None, None]],
    ["standard", "decimal", ["x"]],
    ["standard", "fraction", [1, 0]],
    ["standard", "uuid", [b"short", "unknown"]],
    ["standard", "uuid", [bytes(16), "no such"]],
    ["standard", "timedelta", [10**12, 0, 0]],
    ["standard", "numpy_int64", [bytes(16)]],
    ["standard", "numpy_object", [bytes(8)]],
]


@pytest.mark.parametrize("value", STANDARD_DOCUMENTS, ids=str)
def test_what_is_no_such_value_is_refused(value: Any) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec(None, change=lambda document: document.update(root=value))


# instances


def test_instances_come_back() -> None:
    expected = configs.instances()
    loaded = through(expected)
    assert_same(expected, loaded)
    assert loaded["config"] is loaded["again"] is loaded["namespace"].nested.config
    assert loaded["plain"].me is loaded["plain"]
    assert vars(loaded["plain"])["doubled"] == 8
    assert loaded["mangled"].secret() == 2
    assert not hasattr(loaded["mangled"], "unset")
    assert loaded["keys"][Key("k", Shape(2))] == "first"
    assert Key("b", Shape(2)) in loaded["set"]


def test_two_equal_instances_stay_two() -> None:
    first, second = through([Plain(1), Plain(1)])
    assert first is not second


def test_a_weak_reference_to_an_instance_comes_back() -> None:
    plain = Plain(1)
    loaded = through([plain, weakref.ref(plain)])
    assert loaded[1]() is loaded[0]


def test_a_graph_and_its_configuration_come_back_together() -> None:
    module = fx.symbolic_trace(nn.Linear(2, 2))
    module.config = CompileConfig(sizes=[2])
    next(iter(module.graph.nodes)).meta["custom"] = Key("input", Shape(1))
    tree = {"graph": module, "config": module.config, "weights": Slotted(1, module.weight)}
    loaded = through(tree)
    assert_same(tree, loaded)
    assert loaded["graph"].config is loaded["config"]
    assert loaded["weights"].right is loaded["graph"].weight
    assert torch.equal(loaded["graph"](torch.ones(1, 2)), module(torch.ones(1, 2)))


def test_the_bytes_do_not_depend_on_the_order_of_a_set(tmp_path: Path) -> None:
    script = (
        "from tests.material import configs; import fxarchive, sys;"
        "sys.stdout.write(__import__('hashlib').sha256(fxarchive.dumps(configs.instances())).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(found) == 1


def test_an_untrusted_file_names_all_that_it_asks_for() -> None:
    data = fxarchive.dumps(configs.instances())
    with pytest.raises(UntrustedNames) as caught:
        fxarchive.loads(data)
    assert caught.value.names == tuple(sorted(TRUST))
    with pytest.raises(UntrustedNames) as caught:
        fxarchive.loads(data, trust=TRUST[1:])
    assert caught.value.names == TRUST[:1]


def test_inspect_prints_what_a_file_asks_for(tmp_path: Path) -> None:
    report = fxarchive.save(configs.instances(), tmp_path / "x.fxa")
    info = fxarchive.inspect(tmp_path / "x.fxa")
    assert info.contents.trust == report.trust == tuple(sorted(TRUST))
    assert info.contents.imports == (configs.__name__,)
    assert info.features == (RECORDS,)


def test_a_class_that_is_not_there_is_looked_up_and_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fxarchive.dumps(Plain(1))
    package, _, name = configs.__name__.rpartition(".")
    monkeypatch.delitem(sys.modules, configs.__name__)
    monkeypatch.delattr(sys.modules[package], name)
    with pytest.raises(MissingOperator, match=f"import {re.escape(configs.__name__)} first"):
        fxarchive.loads(data, trust=TRUST)
    assert configs.__name__ not in sys.modules


ran: list[str] = []


class Watched:
    """Notes every method of its own that runs."""

    def __init__(self) -> None:
        vars(self).update(value=1, other=[2])

    def __init_subclass__(cls) -> None:
        ran.append("__init_subclass__")

    def __setattr__(self, name: str, value: Any) -> None:
        ran.append("__setattr__")

    def __getattribute__(self, name: str) -> Any:
        ran.append(f"__getattribute__ {name}")
        return object.__getattribute__(self, name)

    def __getattr__(self, name: str) -> Any:
        ran.append("__getattr__")
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        ran.append("__eq__")
        return self is other

    def __hash__(self) -> int:
        ran.append("__hash__")
        return 1

    def __repr__(self) -> str:
        ran.append("__repr__")
        return ""

    @property
    def changed(self) -> int:
        ran.append("property")
        return 1

    @changed.setter
    def changed(self, value: int) -> None:
        ran.append("setter")


@dataclasses.dataclass
class Initialised:
    value: int = 0

    def __post_init__(self) -> None:
        ran.append("__post_init__")


def test_loading_runs_nothing_of_the_class() -> None:
    data = fxarchive.dumps([Watched(), Initialised(3)])
    ran.clear()
    watched, initialised = fxarchive.loads(data, trust=[f"{__name__}.Watched", f"{__name__}.Initialised"])
    assert [call for call in ran if not call.startswith("__getattribute__ ")] == []
    ran.clear()
    assert object.__getattribute__(watched, "__dict__") == {"value": 1, "other": [2]}
    assert initialised == Initialised(3)


# what is refused at save


class Reduces:
    def __reduce__(self) -> Any:
        return (Reduces, ())


class HasState:
    def __getstate__(self) -> Any:
        return {}


class SetsState:
    def __setstate__(self, state: Any) -> None:
        pass


class MakesItself:
    def __new__(cls) -> Any:
        return super().__new__(cls)


class Destructs:
    def __del__(self) -> None:
        pass


class OwnDict(dict):  # type: ignore[type-arg]
    pass


class OwnText(str):
    pass


class OwnTracer(fx.Tracer):
    pass


class Shadows:
    def method(self) -> None:
        pass

    @property
    def computed(self) -> int:
        return 1


class Twice(Mangled):
    __slots__ = ("shown",)


def shadowing(name: Any) -> Shadows:
    made = Shadows()
    vars(made)[name] = len
    return made


def local() -> Any:
    class Local:
        pass

    return Local()


REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "reduce": (
        Reduces,
        "the object",
        r"Reduces\.__reduce__ would have to run to rebuild it; keep its facts in",
    ),
    "getstate": (HasState, "the object", r"HasState\.__getstate__ would have to run"),
    "setstate": (SetsState, "the object", r"SetsState\.__setstate__ would have to run"),
    "new": (MakesItself, "the object", "are made by code of their class"),
    "del": (Destructs, "the object", "has a destructor"),
    "dict": (OwnDict, "the object", "are made by code of their class or of C"),
    "text": (lambda: OwnText("x"), "the object", r"str\.__getnewargs__ would have to run"),
    "error": (lambda: ValueError("x"), "the object", "cannot be kept"),
    "of torch": (OwnTracer, "the object", "torch's Tracer differs between releases"),
    "twice": (Twice, "the object", "hold state that is no attribute"),
    "local": (local, "the object", "is not reachable by a module and a name"),
    "lock": (lambda: Plain([threading.Lock()]), "value[0]", "cannot be kept"),
    "two fields": (lambda: Slotted(open, lambda: 1), "right", "lambdas"),
    "method": (lambda: shadowing("method"), "method", r"takes the place of Shadows\.method"),
    "property": (lambda: shadowing("computed"), "computed", r"takes the place of Shadows\.computed"),
    "special": (lambda: shadowing("__class__"), "__class__", "has a meaning to the interpreter"),
    "no text": (lambda: shadowing(1), "1", "is not a string"),
    "namespace": (lambda: types.SimpleNamespace(f=lambda: 1), "f", "lambdas"),
    "zone": (
        lambda: [datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))],
        "[0]",
        "a time zone of class ZoneInfo cannot be kept; convert the time to a fixed offset",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rebuilt_is_refused_with_its_path(name: str) -> None:
    make, path, why = REFUSED[name]
    with pytest.raises(UnsupportedValue, match=why) as caught:
        fxarchive.dumps(make())
    assert path in [problem.path for problem in caught.value.problems]


def test_each_place_of_a_refused_instance_is_named() -> None:
    bad = Plain(lambda: 1)
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps([bad, bad])
    assert [problem.path for problem in caught.value.problems] == ["[0].value", "[1].value"]


def test_metadata_with_an_instance_that_cannot_be_kept_can_be_dropped() -> None:
    module = fx.symbolic_trace(nn.ReLU())
    for node in module.graph.nodes:
        node.meta = {"good": Key("x", Shape(1)), "bad": Reduces()}
    data = fxarchive.dumps(module, on_unsupported="drop")
    loaded = fxarchive.loads(data, trust=TRUST)
    assert [node.meta for node in loaded.graph.nodes] == [{"good": Key("x", Shape(1))}] * 3


@pytest.mark.parametrize(
    ("value", "path"), [(Plain(1), ""), ([Path("x")], "[0]"), ({"a": Key("x", Shape(1))}, "['a']")], ids=shown
)
def test_an_argument_of_a_node_is_never_an_instance(value: Any, path: str) -> None:
    module = fx.symbolic_trace(nn.ReLU())
    x, relu, _ = module.graph.nodes
    relu.args = (x, value)
    with pytest.raises(UnsupportedValue, match="cannot be an argument of a node") as caught:
        fxarchive.dumps(module)
    assert [problem.path for problem in caught.value.problems] == [f"graph.relu.args[1]{path}"]


@pytest.mark.parametrize(
    ("cls", "kept"),
    [
        (argparse.Namespace, True), (Key, True), (Slotted, True), (Mangled, True), (configs.Box, True), (object, False),
        (int, False), (type, False), (enum.Enum, False), (Shape, False), (nn.Module, False), (torch.Tensor, False),
        (threading.Thread, True), (type(threading.Lock()), False), (types.ModuleType, False), (decimal.Context, False),
        (types.GeneratorType, False), (subprocess.Popen, False), (re.Pattern, False), (typing.Any, False),
    ],
)  # fmt: skip
def test_the_rule_for_classes(cls: Any, kept: bool) -> None:
    assert (why_not_a_record(cls) is None) is kept


# what a hostile file asks for


def asking(target: Any, *fields: Any) -> Any:
    """Load a document with one record, as a hostile writer would make it."""

    def change(document: dict[str, Any]) -> None:
        document["targets"] = [] if target is None else [["class", target]]
        document["records"] = [[None if target is None else 0, list(fields)]]
        document["root"] = ["record", 0]

    return through_the_codec(None, trust=(*TRUST, *EXTRA), change=change)


EXTRA = tuple(
    f"{__name__}.{name}" for name in ("Shadows", "Reduces", "MakesItself", "Destructs", "OwnTracer")
)


@pytest.mark.parametrize(
    ("target", "fields", "why"),
    [
        (f"{__name__}.Reduces", (), "would have to run"),
        (f"{__name__}.MakesItself", (), "are made by code"),
        (f"{__name__}.Destructs", (), "has a destructor"),
        (f"{__name__}.OwnTracer", (), "differs between releases"),
        (f"{__name__}.Shadows", ("method", 1), "takes the place of"),
        (f"{__name__}.Shadows", ("computed", 1), "takes the place of"),
        (f"{__name__}.Shadows", ("__class__", 1), "has a meaning"),
        (f"{__name__}.Shadows", ("__dict__", ["dict", []]), "has a meaning"),
        (f"{__name__}.Shadows", (3, 1), "not a string"),
        (f"{__name__}.Shadows", ("a", 1, "a", 2), "each name once"),
        (f"{__name__}.Shadows", ("a",), "each name once"),
        (f"{configs.__name__}.Slotted", ("other", 1), "no such slot"),
        (f"{configs.__name__}.Mode", (), "cannot be rebuilt"),
        (f"{configs.__name__}.Shape", (), "cannot be rebuilt"),
        ("torch.nn.modules.linear.Linear", (), "cannot be rebuilt"),
        ("torch.device", (), "cannot be rebuilt"),
        ("torch.fx.graph.CodeGen", (), "cannot be rebuilt|not a class of the caller"),
        (None, (3, 1), "not a string"),
        (None, ("a", ["record", 1]), "there is no row 1"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(target: Any, fields: Any, why: str) -> None:
    with pytest.raises((InvalidDocument, UntrustedNames), match=f"{why}|not trusted"):
        asking(target, *fields)


def test_a_record_that_leads_back_to_itself_in_a_hash_is_refused() -> None:
    with pytest.raises(InvalidDocument):
        asking(f"{configs.__name__}.Key", "name", ["dict", [["record", 0], 1]])
    gc.collect()


@pytest.mark.parametrize(
    "value", [["record", 0], ["standard", "path", ["x"]], ["list", [["record", 0]]], ["shared", 0], ["value", 0],
              ["treespec", [["record", 0], None, []]], ["slice", [None, ["record", 0], None]]],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("place", ["argument", "keyword", "type"])
def test_what_is_printed_into_source_is_never_an_instance(value: Any, place: str) -> None:
    graph = fx.Graph()
    graph.output(graph.call_function(torch.relu, (graph.placeholder("x"),)))
    data = fxarchive.dumps(fx.GraphModule(nn.Module(), graph))

    def change(document: Any) -> None:
        record = document["graphs"][0]
        if place == "type":
            record["types"] = [[0], [value]]
        else:
            at = 0 if place == "argument" else 1
            record["patterns"][0][at] = [value] if at == 0 else ["key", value]

    from fxarchive.audit import audit
    from fxarchive.reading import read_document

    document = read_document(container.open_archive(data))
    change(document)
    with pytest.raises(InvalidDocument, match="cannot be an argument or a type of a node"):
        audit(document, trust=())
