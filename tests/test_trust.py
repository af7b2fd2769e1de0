"""The shipped lists, the checks of names, and names <-> functions of the running torch."""

from __future__ import annotations

import builtins
import math
import operator
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import einops
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from fxarchive import trust
from fxarchive.codec import resolve
from fxarchive.errors import ForbiddenName

FUNCTIONS = sorted(trust.names("functions"))


def test_lists_hold_dotted_names_once_each() -> None:
    for kind in ("functions", "modules", "classes"):
        listed = trust.ordered_names(kind)  # type: ignore[arg-type]
        assert len(listed) == len(set(listed)) > 100
        assert all(part.isidentifier() for name in listed for part in name.split("."))
        assert all("." in name for name in listed)


OUTSIDE = """
torch.load torch.save torch.from_file torch.compile torch.jit.load torch.hub.load torch.ops.load_library
torch.os.system torch.classes.load_library torch.serialization.load torch.utils.cpp_extension.load
torch.package.PackageImporter torch._C.import_ir_module torch._C._jit_script_compile torch.fork
torch.Tensor.__reduce_ex__ torch.Tensor.__setstate__ torch.Tensor.__class__ torch.Tensor.__getattribute__
torch.Tensor.register_hook torch.Tensor.data_ptr torch.from_dlpack torch.storage._load_from_bytes
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression torch.fx.wrap
operator.attrgetter operator.methodcaller operator.itemgetter operator.call builtins.eval builtins.exec
builtins.compile builtins.open builtins.__import__ builtins.globals builtins.vars builtins.setattr
builtins.delattr os.system posix.system subprocess.Popen torch torch. .relu torch..relu
""".split()  # noqa: SIM905


@pytest.mark.parametrize("name", [*OUTSIDE, "", "#", " torch.relu", "torch.relu\n", "torch.relu\ntorch.add"])
def test_names_outside_the_lists(name: str) -> None:
    for kind in ("function", "module", "class"):
        assert not trust.is_listed(kind, name)  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="not in the shipped list"):
        resolve.resolve_function(name)


def test_no_listed_function_has_a_dangerous_last_word() -> None:
    words = (
        "eval exec compile open load save system popen import fork unpickle loads script setattr"
    ).replace(" ", "|")
    dangerous = re.compile(rf"(?:^|_)(?:{words})(?:_|$)")
    allowed = {
        "torch._functorch.predispatch.lazy_load_decompositions",
        "torch._functorch.vmap.lazy_load_decompositions",
    }
    allowed |= {"torch.autograd.forward_ad._maybe_load_decompositions", "torch._jit_internal.is_scripting"}
    assert [
        name for name in FUNCTIONS if dangerous.search(name.rpartition(".")[2]) and name not in allowed
    ] == []


def test_classes_of_modules_are_classes() -> None:
    assert trust.is_listed("module", "torch.nn.modules.linear.Linear")
    assert trust.is_listed("class", "torch.nn.modules.linear.Linear")
    assert not trust.is_listed("function", "torch.nn.modules.linear.Linear")
    assert not trust.is_listed("module", "builtins.int")


def test_every_module_of_torch_nn_is_listed() -> None:
    public = [
        cls for cls in vars(torch.nn).values() if isinstance(cls, type) and issubclass(cls, torch.nn.Module)
    ]
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in public}
    assert len(names) > 100
    assert names <= trust.names("modules")
    assert all(issubclass(resolve.resolve_function(name), torch.nn.Module) for name in names)


def test_wrappers_hold_listed_names_only() -> None:
    wrapper = "torch._dynamo.utils.numpy_to_tensor_wrapper"
    assert trust.is_listed("function", f"{wrapper}(torch._numpy.sin)")
    for name in ("torch._numpy.no_such", "builtins.getattr", "torch.relu", "torch._numpy.sin)(", ""):
        assert not trust.is_listed("function", f"{wrapper}({name})")
    assert not trust.is_listed(
        "function", "torch._dynamo.utils.numpy_method_wrapper(torch._numpy.ndarray.__class__)"
    )
    assert not trust.is_listed("function", "torch.relu(torch._numpy.sin)")


def test_aliases_are_listed_and_differ() -> None:
    assert trust.aliases()
    for name, others in trust.aliases().items():
        assert name not in others
        assert {name, *others} <= trust.names("functions") | trust.names("classes")


def test_an_alias_stands_in_for_a_name_that_torch_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "aliases", lambda: {"torch.gone": ("torch.no_such", "torch.relu")})
    monkeypatch.setattr(resolve, "_resolved", {})
    monkeypatch.setattr(resolve, "is_listed", lambda kind, name: True)
    assert resolve.resolve_function("torch.gone") is torch.relu


@pytest.mark.parametrize("name", ["x", "relu_1", "_", "__getitem__", "données", "self", "match"])
def test_identifiers(name: str) -> None:
    trust.check_identifier("a node", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1x",
        "a b",
        "a.b",
        "x)",
        "for",
        "None",
        "__debug__",
        "__class__",
        "__import__",
        "__subclasses__",
        "a\n",
        "\uff45val",
        "\ud800",
    ],
)
def test_forbidden_identifiers(name: str) -> None:
    with pytest.raises(ForbiddenName, match=r"^a node holds the name .*ask who made it\.$") as caught:
        trust.check_identifier("a node", name)
    assert (caught.value.where, caught.value.name) == ("a node", name)


@pytest.mark.parametrize("atom", ["0", "weight", "conv-1", "a b", "données", "{k}", "(x)", "_packed"])
def test_path_atoms(atom: str) -> None:
    trust.check_path_atom("a module", atom)


@pytest.mark.parametrize(
    "atom",
    [
        "",
        '"',
        "'",
        "\\",
        "\n",
        "\r",
        "\0",
        "\x7f",
        "\u2028",
        "a.b",
        "__class__",
        "for",
        "\udc80",
        "\uff43lass_",
        "\x85",
    ],
)
def test_forbidden_path_atoms(atom: str) -> None:
    with pytest.raises(ForbiddenName):
        trust.check_path_atom("a module", atom)


def test_every_path_atom_that_passes_survives_generated_source() -> None:
    for code in range(0x3000):
        atom = f"a{chr(code)}-"
        try:
            trust.check_path_atom("a module", atom)
        except ForbiddenName:
            continue
        assert eval(f'"{atom}"') == atom


def test_trust_imports_no_torch_and_is_fast() -> None:
    code = (
        "import sys, time; from fxarchive import trust; start = time.perf_counter(); "
        "assert trust.is_listed('function', 'torch.relu'); took = time.perf_counter() - start; "
        "assert 'torch' not in sys.modules; print(took)"
    )
    took = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))
    assert took < 0.02


# names <-> functions


def test_every_listed_function_goes_there_and_back() -> None:
    missing = []
    for name in FUNCTIONS:
        try:
            thing = resolve.resolve_function(name)
        except LookupError:
            missing.append(name)
            continue
        back = resolve.name_of_function(thing)
        assert back is not None
        assert trust.is_listed("function", back) or trust.is_listed("class", back)
        assert resolve.resolve_function(back) is thing, (name, back)
    assert len(missing) < len(FUNCTIONS) // 20
    assert not [name for name in missing if name.startswith(("math.", "operator.", "builtins.", "einops."))]


def test_core_scopes_are_there_after_import_torch() -> None:
    code = "import sys, torch; print(*[n for n in sys.argv[1:] if n not in sys.modules])"
    shown = subprocess.check_output([sys.executable, "-c", code, *resolve.CORE], text=True)
    assert shown.split() == ["torch.Tensor"]


def test_the_table_of_names_is_quick() -> None:
    resolve._core_names.cache_clear()
    start = time.perf_counter()
    resolve._core_names()
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (torch.add, "torch.add"),
        (torch._C._VariableFunctions.add, "torch.add"),  # type: ignore[attr-defined]
        (torch.functional.einsum, "torch.einsum"),
        (F.linear, "torch._C._nn.linear"),
        (F.relu, "torch.nn.functional.relu"),
        (torch.Tensor.add, "torch.Tensor.add"),
        (torch._C.TensorBase.__getitem__, "torch.Tensor.__getitem__"),
        (operator.getitem, "operator.getitem"),
        (math.sqrt, "math.sqrt"),
        (getattr, "builtins.getattr"),
        (torch._C._set_grad_enabled, "torch._C._set_grad_enabled"),
        (torch.sym_max, "torch.sym_max"),
        (einops.rearrange, "einops.einops.rearrange"),
    ],
)
def test_names(thing: Any, name: str) -> None:
    assert resolve.name_of_function(thing) == name
    assert trust.is_listed("function", name)
    assert resolve.resolve_function(name) == thing


def test_unlisted_functions_have_a_name_and_local_ones_have_none() -> None:
    assert resolve.name_of_function(time.sleep) == "time.sleep"
    assert resolve.name_of_function(builtins.eval) == "builtins.eval"
    assert resolve.name_of_function(torch.load) == "torch.serialization.load"
    assert resolve.name_of_function(lambda: None) is None

    def local() -> None: ...

    assert resolve.name_of_function(local) is None
    impostor = type(local)(local.__code__, {}, "relu")
    impostor.__module__, impostor.__qualname__ = "torch", "relu"
    assert resolve.name_of_function(impostor) is None


# what tracers really put in graphs


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.norm = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + F.gelu(self.out(F.dropout(y, 0.1, self.training))) * torch.rsqrt(
            x.pow(2).mean(-1, keepdim=True) + 1e-6
        )


def convolutions(x: torch.Tensor) -> torch.Tensor:
    y = F.conv2d(x.view(1, 1, 4, 8), torch.ones(2, 1, 3, 3), padding=1)
    y = F.max_pool2d(F.interpolate(F.pad(y, (1, 1)), scale_factor=2.0), 2)
    return torch.cat(
        [
            torch.flatten(y),
            torch.einsum("ij->i", x),
            torch.linalg.norm(x)[None],
            torch.fft.fft(x).real.sum()[None],
        ]
    )


def modes(x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu"):
        y = x @ x.T
    return torch.vmap(lambda row: row.sum() * 2)(y.float()) + math.prod(x.shape)


def rearranged(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(einops.reduce(einops.rearrange(x, "a b -> b a"), "b a -> b", "mean"))


def numeric(x: torch.Tensor) -> Any:
    return np.sin(x.numpy()).reshape(-1) + np.ones(32)


def captured(call: Callable[..., Any], *inputs: Any) -> list[torch.fx.GraphModule]:
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    torch.compile(call, backend=backend)(*inputs)
    return [
        module for graph in graphs for module in graph.modules() if isinstance(module, torch.fx.GraphModule)
    ]


def check_targets(graphs: list[torch.fx.GraphModule]) -> int:
    seen = 0
    for graph in graphs:
        for node in graph.graph.nodes:
            thing = node.target
            if node.op != "call_function" or isinstance(
                thing, torch._ops.OpOverload | torch._ops.OpOverloadPacket | torch._ops.HigherOrderOperator
            ):
                continue
            name = resolve.name_of_function(thing)
            assert name is not None, node.format_node()
            kind = "class" if isinstance(thing, type) else "function"
            assert trust.is_listed(kind, name), name  # type: ignore[arg-type]
            again = resolve.resolve_function(name)
            assert again is thing or name.endswith(")"), name
            seen += 1
    return seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "call", [Attention(), convolutions, modes, rearranged, numeric], ids=lambda call: str(call)[:20]
)
def test_dynamo_graphs_call_listed_functions(call: Callable[..., Any]) -> None:
    assert check_targets(captured(call, torch.randn(4, 8))) > 0


def test_symbolic_trace_calls_listed_functions() -> None:
    assert check_targets([torch.fx.symbolic_trace(Attention())]) > 3
    assert check_targets([torch.fx.symbolic_trace(convolutions)]) > 5


def test_make_fx_and_export_call_listed_functions() -> None:
    x = torch.randn(4, 8)
    traced = make_fx(lambda x: torch.split(x, 2)[0] + x.shape[0], tracing_mode="symbolic")(x)
    exported = torch.export.export(
        Attention(), (x,), dynamic_shapes=({0: torch.export.Dim("rows")},), strict=False
    )
    assert check_targets([traced, exported.graph_module]) > 0
