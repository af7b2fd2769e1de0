"""GraphModules come back as torch made them, except that code is generated when it is first used."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import fx, nn
from torch.fx._lazy_graph_module import _LazyGraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from fxarchive.errors import InvalidDocument, UnsupportedValue

from ..compare import assert_same
from .through import through_the_codec

X = torch.arange(8.0).reshape(2, 4) / 7


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("offset", torch.ones(4), persistent=False)

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        return torch.relu(self.linear(x)) * scale + self.offset


# Real classes in place of strings: tracing copies them into the generated code.
Model.forward.__annotations__ = {"x": torch.Tensor, "scale": float, "return": torch.Tensor}


def traced() -> fx.GraphModule:
    torch.manual_seed(0)
    return fx.symbolic_trace(Model())


def pytree_traced() -> fx.GraphModule:
    def model(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        return inputs["a"] + 1, inputs["b"].relu()

    return fx.symbolic_trace(model, concrete_args={"inputs": {"a": fx.PH, "b": fx.PH}})


def is_pending(module: fx.GraphModule) -> bool:
    return "_code" not in vars(module)


@pytest.fixture
def loaded() -> fx.GraphModule:
    found: fx.GraphModule = through_the_codec(traced())
    assert is_pending(found)
    return found


def test_nothing_is_generated_while_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = traced()
    outer.add_module("inner", traced())
    through_the_codec(outer)  # what is made once a process is made now
    with monkeypatch.context() as patched:
        patched.setattr(fx.Graph, "python_code", None)
        patched.setattr(fx.GraphModule, "recompile", None)
        again = through_the_codec(outer)
    assert is_pending(again)
    assert is_pending(again.inner)
    assert_same(outer, again)


def test_it_comes_back_and_leaves_nothing_in_its_class() -> None:
    module = traced()
    module.meta["key"] = {"a": 1}
    again = through_the_codec(module)
    assert type(again).__mro__[1:] == type(module).__mro__[1:]
    assert torch.equal(again(X), module(X))
    assert_same(module, again)
    assert vars(type(again)).keys() == vars(type(module)).keys()
    assert vars(again).keys() == vars(module).keys()
    assert again.graph.owning_module is again
    again.graph.lint()


def signature(module: fx.GraphModule) -> Any:
    return str(inspect.signature(module.forward))


def edited(module: fx.GraphModule) -> Any:
    for node in module.graph.find_nodes(op="call_function", target=torch.relu):
        node.target = torch.sigmoid
    module.recompile()
    return module(X), module.code


def scripted(module: fx.GraphModule) -> Any:
    return torch.jit.script(module)(X, 2.0)


def saved_by_torch(module: fx.GraphModule) -> Any:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)(X)


def compiled(module: fx.GraphModule) -> Any:
    torch._dynamo.reset()
    return torch.compile(module, backend="eager", fullgraph=True)(X)


def compiled_as_part(module: fx.GraphModule) -> Any:
    torch._dynamo.reset()
    return torch.compile(lambda x: module(x) + 1, backend="eager", fullgraph=True)(X)


def exported(module: fx.GraphModule) -> Any:
    program = torch.export.export(module, (X,))
    return program.module()(X), [node.name for node in program.graph.nodes]


def traced_as_part(module: fx.GraphModule) -> Any:
    again = fx.symbolic_trace(nn.Sequential(module))
    return again(X), again.code


def replaced_graph(module: fx.GraphModule) -> Any:
    module.graph = fx.symbolic_trace(Model()).graph
    return module(X), module.code


def written_to_folder(module: fx.GraphModule) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        module.to_folder(folder)
        return (Path(folder) / "module.py").read_text().replace(folder, "")


def call_error(module: fx.GraphModule) -> Any:
    with pytest.raises(RuntimeError) as raised:
        module(torch.ones(3))
    return str(raised.value)


USES: dict[str, Callable[[fx.GraphModule], Any]] = {
    "call": lambda m: m(X),
    "call with a keyword": lambda m: m(X, scale=3.0),
    "call of the class": lambda m: type(m).__call__(m, X),
    "call that fails": call_error,
    "_wrapped_call": lambda m: m._wrapped_call(m, X),
    "forward": lambda m: m.forward(X),
    "forward of the class": lambda m: type(m).forward(m, X),
    "signature": signature,
    "signature of the module": lambda m: str(inspect.signature(m)),
    "code": lambda m: m.code,
    "_code": lambda m: m._code,
    "_lineno_map": lambda m: m._lineno_map,
    "_prologue_start": lambda m: getattr(m, "_prologue_start", None),
    "str": str,
    "repr": repr,
    "print_readable": lambda m: m.print_readable(print_output=False),
    "recompile": lambda m: m.recompile().src,
    "recompile of the class": lambda m: fx.GraphModule.recompile(m).src,
    "edited": edited,
    "replaced graph": replaced_graph,
    "pickle": lambda m: pickle.loads(pickle.dumps(m))(X),
    "pickle again": lambda m: pickle.loads(pickle.dumps(m)).code,
    "__reduce__": lambda m: m.__reduce__()[1][0]["_code"],
    "__getstate__": lambda m: sorted(m.__getstate__()),
    "torch.save": saved_by_torch,
    "deepcopy": lambda m: copy.deepcopy(m)(X),
    "deepcopy, then both": lambda m: (copy.deepcopy(m).code, m.code),
    "copy": lambda m: copy.copy(m)(X),
    "compile": compiled,
    "compile around it": compiled_as_part,
    "export": exported,
    "symbolic_trace": lambda m: fx.symbolic_trace(m).code,
    "symbolic_trace around it": traced_as_part,
    "make_fx": lambda m: make_fx(m)(X).code,
    "interpreter": lambda m: fx.Interpreter(m).run(X, 2.0),
    "script": scripted,
    "to_folder": written_to_folder,
    "to": lambda m: m.to(torch.float64)(X.double()),
    "half of it": lambda m: m.linear(X),
    "state_dict": lambda m: m.state_dict(),
    "hasattr": lambda m: [
        hasattr(m, name) for name in ("forward", "code", "_in_spec", "_out_spec", "nonsense")
    ],
    "dir": lambda m: [name for name in dir(m) if "spec" in name],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_first_use_is_as_if_it_had_been_recompiled(
    use: Callable[[fx.GraphModule], Any], loaded: fx.GraphModule, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    expected = use(traced())
    printed = capsys.readouterr()
    torch.manual_seed(1)
    assert_same(expected, use(loaded))
    # Errors in generated code are shown on stderr with a number that counts up in the process.
    assert len(printed.err.splitlines()) == len(capsys.readouterr().err.splitlines())
    assert torch.equal(loaded.to(torch.float32)(X), loaded.to(torch.float32)(X))
    assert vars(type(loaded)).keys() - {"__annotations__"} == vars(type(traced())).keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_leaves_a_module_that_can_be_saved(use: Callable[[fx.GraphModule], Any]) -> None:
    module = traced()
    use(module)
    module.graph.owning_module = module  # copy.copy gives the graph to the copy
    assert_same(module, through_the_codec(module))


def test_pytree_specs_are_there_at_once() -> None:
    module = pytree_traced()
    again = through_the_codec(module)
    assert is_pending(again)
    assert (again._in_spec, again._out_spec) == (module._in_spec, module._out_spec)
    assert is_pending(again)
    inputs = {"a": X, "b": -X}
    assert_same(module(inputs), again(inputs))
    assert_same(module, again)


def test_specs_that_outlived_their_codegen_come_back() -> None:
    module = pytree_traced()
    module.graph.set_codegen(fx.graph.CodeGen())
    module.recompile()
    again = through_the_codec(module)
    assert again._in_spec == module._in_spec
    assert_same(module, again)


def test_threads_that_call_first_all_get_the_result() -> None:
    for _ in range(20):
        module = traced()
        expected = module(X)
        again = through_the_codec(module)
        start = threading.Barrier(8)
        results: list[Any] = []

        def use(number: int, again: Any = again, start: Any = start, results: Any = results) -> None:
            start.wait()
            try:
                if number == 0:
                    again.recompile()
                elif number == 1:
                    results.append((again.code, type(again).forward))
                results.append(again(X))
            except BaseException as error:
                results.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        tensors = [result for result in results if isinstance(result, torch.Tensor)]
        assert len(tensors) == 8, results
        assert all(torch.equal(result, expected) for result in tensors)
        assert vars(type(again)).keys() == vars(type(module)).keys()


def test_nested_graph_modules_generate_on_their_own() -> None:
    inner = traced()
    graph = fx.Graph()
    graph.output(graph.call_module("inner", (graph.placeholder("x"), 1.0)))
    outer = fx.GraphModule({"inner": inner}, graph)
    again = through_the_codec(outer)
    assert torch.equal(again.inner(X), inner(X))
    assert is_pending(again)
    assert torch.equal(again(X), outer(X))
    assert_same(outer, again)
    fresh = through_the_codec(outer)
    assert torch.equal(fresh(X), outer(X))
    assert not is_pending(fresh.inner)


def test_a_pending_module_can_be_saved_and_is_still_pending(loaded: fx.GraphModule) -> None:
    again = through_the_codec(loaded)
    assert is_pending(loaded)
    assert is_pending(again)
    assert_same(traced(), again)


def test_the_class_of_a_pending_module_does_not_keep_it_alive() -> None:
    module = through_the_codec(traced())
    cls, gone = type(module), weakref.ref(module)
    del module
    gc.collect()
    assert gone() is None
    with pytest.raises(AttributeError, match="no longer exists"):
        _ = cls.forward


def test_what_somebody_puts_in_place_before_the_first_use_stays(loaded: fx.GraphModule) -> None:
    def forward(self: Any, x: torch.Tensor) -> str:
        return "mine"

    type(loaded).forward = forward
    assert "relu" in loaded.code
    assert loaded(X) == "mine"
    loaded.recompile()
    assert torch.equal(loaded(X), traced()(X))


def test_an_instance_attribute_in_place_of_forward_wins(loaded: fx.GraphModule) -> None:
    loaded.forward = lambda x: "mine"
    assert loaded(X) == "mine"
    del loaded.forward
    assert torch.equal(loaded(X), traced()(X))


def test_a_graph_that_gives_no_code_says_so_at_the_first_use(loaded: fx.GraphModule) -> None:
    def broken(**_: Any) -> None:
        raise AttributeError("no such thing")

    loaded.graph.python_code = broken
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no code can be generated from the graph: no such thing"):
            _ = loaded.forward
    del loaded.graph.python_code
    assert torch.equal(loaded(X), traced()(X))


# kinds of GraphModules


def test_lazy_graph_modules_stay_lazy() -> None:
    module = _LazyGraphModule(traced(), traced().graph)
    for compiled_first in (False, True):
        if compiled_first:
            module.real_recompile()
        again = through_the_codec(module)
        assert isinstance(again, _LazyGraphModule)
        assert again._needs_recompile()
        assert torch.equal(again(X), module(X))
        assert again.code == module.code
        assert_same(module, again)


def test_the_name_of_the_class_comes_back() -> None:
    module = make_fx(lambda x: x + 1)(X)
    assert type(module).__name__ == "<lambda>"
    again = through_the_codec(module)
    assert type(again).__name__ == "<lambda>"
    assert type(again).__qualname__ == type(module).__qualname__
    assert again.print_readable(print_output=False) == module.print_readable(print_output=False)


def test_a_shared_graph_stays_shared_and_has_its_owner() -> None:
    first = traced()
    second = fx.GraphModule(first, first.graph)
    assert first.graph.owning_module is second
    for order in ([first, second], [second, first]):
        again = through_the_codec(order)
        at = order.index(second)
        assert again[0].graph is again[1].graph
        assert again[0].graph.owning_module is again[at]
        assert torch.equal(again[0](X), first(X))
    assert through_the_codec(first).graph.owning_module is not None


def test_a_tracer_other_than_that_of_the_graph_comes_back() -> None:
    module = traced()
    assert through_the_codec(module)._tracer_cls is fx.Tracer
    module._tracer_cls = None
    module._tracer_extras = {"depth": 2}
    again = through_the_codec(module)
    assert again._tracer_cls is None
    assert again._tracer_extras == {"depth": 2}
    assert again.graph._tracer_cls is fx.Tracer


def test_attributes_of_what_fx_keeps_get_the_first_values_of_this_torch(loaded: fx.GraphModule) -> None:
    fresh = vars(fx.GraphModule(nn.Module(), fx.Graph()))
    assert fresh.keys() - vars(loaded).keys() <= {"_code", "_lineno_map", "_prologue_start"}
    assert loaded._replace_hooks == []
    other = through_the_codec(traced())
    assert loaded._replace_hooks is not other._replace_hooks


def test_a_deep_chain_of_graph_modules_loads() -> None:
    module = inner = traced()
    for _ in range(2000):
        module = fx.GraphModule(nn.Module(), fx.Graph())
        module._modules["inner"] = inner
        inner = module
    again = through_the_codec(module)
    depth = 0
    while "inner" in again._modules:
        again = again._modules["inner"]
        depth += 1
    assert depth == 2000
    assert torch.equal(again(X), traced()(X))


# what cannot be kept


class Own(fx.GraphModule):
    pass


def refusals(module: Any) -> dict[str, str]:
    with pytest.raises(UnsupportedValue) as raised:
        through_the_codec(module)
    return dict(raised.value.problems)


def test_subclasses_are_refused_with_their_name() -> None:
    module = Own(Model(), fx.symbolic_trace(Model()).graph)
    assert f"{__name__}.Own adds code of its own" in refusals(nn.Sequential(module))["0"]


@pytest.mark.parametrize(
    "hooks", ["_replace_hooks", "_create_node_hooks", "_erase_node_hooks", "_deepcopy_hooks"]
)
def test_hooks_are_refused(hooks: str) -> None:
    module = traced()
    getattr(module, hooks).append(print)
    assert "remove them before saving" in refusals({"a": [module]})[f"['a'][0].{hooks}"]


def test_a_shape_env_comes_back_where_there_is_one() -> None:
    module = make_fx(lambda x: x + 1, tracing_mode="symbolic")(X)
    env = through_the_codec(module).shape_env
    assert list(map(str, env.var_to_range)) == list(map(str, module.shape_env.var_to_range))
    assert getattr(make_fx(lambda x: x + 1, tracing_mode="fake")(X), "shape_env", None) is None


def test_code_in_the_class_is_refused() -> None:
    module = traced()
    type(module).extra = 1
    type(module).forward = Model.forward
    assert set(refusals(module)) == {"__class__.extra", "forward"}
    module.recompile()
    del type(module).extra
    assert_same(module, through_the_codec(module))
    type(module).__call__ = nn.Module.__call__
    assert "make a new GraphModule" in refusals(module)["__call__"]


def test_an_unprintable_class_name_is_refused() -> None:
    module = traced()
    type(module).__name__ = "a\nb"
    assert set(refusals(module)) == {"__class__.__name__"}


def entry(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["modules"][0].__setitem__(key, value)


def attribute(name: str, value: Any = 1) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["modules"][0].setdefault("attributes", []).extend((name, value))


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    **{
        name: attribute(name)
        for name in (
            "_graph",
            "graph",
            "code",
            "_code",
            "meta",
            "recompile",
            "forward",
            "_wrapped_call",
        )
    },
    "no such graph": entry("graph", 9),
    "no graph at all": entry("graph", None),
    "meta not a dict": entry("meta", 1),
    "no meta": lambda document: document["modules"][0].pop("meta"),
    "class name": entry("class_name", "a\0b"),
    "class name not text": entry("class_name", 3),
    "long class name": entry("class_name", "a" * 1001),
    "tracer": entry("tracer", 3),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(InvalidDocument):
        through_the_codec(traced(), change=change)
