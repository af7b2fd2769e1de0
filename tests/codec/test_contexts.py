"""Tracing contexts: what torch's own pickler gives back is the least that comes back here."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import fxarchive
from fxarchive import container
from fxarchive.document import TRACING_CONTEXTS
from fxarchive.errors import InvalidDocument, UnsupportedValue

from ..compare import assert_same
from .through import through_the_codec


def new_mode() -> FakeTensorMode:
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


def made(mode: Any = None) -> TracingContext:
    context = TracingContext(mode)
    layer = nn.Linear(2, 2)
    context.module_context.nn_modules = {"L__self___layer": layer}
    frame = traceback.FrameSummary("model.py", 7, "forward", lookup_line=False, line="return x + 1")
    frame.locals = {"x": "tensor"}
    context.frame_summary_stack = [
        frame,
        traceback.FrameSummary("model.py", None, "inner", lookup_line=False),
    ]
    with tracing(context):
        TracingContext.set_current_loc("model.py", 8, "forward")
    context.aot_graph_name = ["model__0_forward_1"]  # type: ignore[assignment]
    context.params_flat = [layer.weight, layer.bias]  # type: ignore[assignment]
    context.params_flat_unwrap_subclasses = [layer.weight, layer.bias]  # type: ignore[assignment]
    context.params_unwrapped_to_flat_index = [0, 1]  # type: ignore[assignment]
    context.output_strides = [(2, 1), None]
    context.force_unspec_int_unbacked_size_like = True
    return context


def test_a_context_comes_back() -> None:
    context = made()
    data = fxarchive.dumps([context, context, context.module_context.nn_modules])
    loaded, again, modules = fxarchive.loads(data)
    assert type(loaded) is TracingContext
    assert_same(context, loaded)
    assert loaded is again
    assert loaded.params_flat[0] is loaded.module_context.nn_modules["L__self___layer"].weight
    assert modules is loaded.module_context.nn_modules
    assert loaded.frame_summary_stack == context.frame_summary_stack
    assert loaded.fake_mode is None
    assert fxarchive.dumps(fxarchive.loads(data)) == data
    assert container.open_archive(data).header.features == (TRACING_CONTEXTS,)


def test_a_context_is_a_fresh_one_in_everything_else() -> None:
    loaded, fresh = fxarchive.loads(fxarchive.dumps(made())), TracingContext(None)
    assert vars(loaded).keys() == vars(fresh).keys()
    for name in ("fw_metadata", "fakify_first_call"):
        assert getattr(loaded, name) == getattr(fresh, name)
    assert len(loaded.guards_context.dynamo_guards.inner) == 0
    with tracing(loaded):
        assert TracingContext.get() is loaded
        assert "model.py" in "".join(TracingContext.extract_stack().format())


def test_it_joins_the_mode_that_fakes_join() -> None:
    mode = new_mode()
    with mode:
        fake = torch.empty(3)
    data = fxarchive.dumps({"context": made(mode), "fake": fake})
    loaded = fxarchive.loads(data)
    assert loaded["context"].fake_mode is loaded["fake"].fake_mode is not None
    callers = new_mode()
    loaded = fxarchive.loads(data, fake_mode=callers)
    assert loaded["context"].fake_mode is loaded["fake"].fake_mode is callers
    assert fxarchive.loads(fxarchive.dumps(made()), fake_mode=callers).fake_mode is callers


def test_it_joins_the_mode_of_its_symbols() -> None:
    first, second = new_mode(), new_mode()
    fakes = [mode.from_tensor(torch.empty(size, 3)) for mode, size in ((first, 4), (second, 5))]
    contexts = [made(second), made(first)]
    data = fxarchive.dumps({"contexts": contexts, "fakes": fakes, "sizes": [fake.shape[0] for fake in fakes]})
    loaded = fxarchive.loads(data)
    assert loaded["contexts"][0].fake_mode is not None
    assert isinstance(loaded["sizes"][0], torch.SymInt)
    environments = [context.fake_mode.shape_env for context in loaded["contexts"]]
    assert environments == [size.node.shape_env for size in reversed(loaded["sizes"])]
    assert environments[0] is not environments[1]


def test_each_part_that_cannot_be_kept_is_named() -> None:
    context = made()
    context.module_context.nn_modules["bad"] = open
    context.output_strides = [lambda: 1]  # type: ignore[list-item]
    with pytest.raises(UnsupportedValue) as caught:
        fxarchive.dumps([context])
    assert "[0].output_strides[0]" in [problem.path for problem in caught.value.problems]


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a key more": lambda record: record.update(more=1),
    "a key less": lambda record: record.pop("aot_graph_name"),
    "mode": lambda record: record.update(mode=1),
    "modules": lambda record: record.update(modules=["list", []]),
    "names of modules": lambda record: record.update(modules=["dict", [1, None]]),
    "frames": lambda record: record.update(frames=[[]]),
    "file of a frame": lambda record: record["frames"][0].__setitem__(0, 3),
    "number of a frame": lambda record: record["frames"][0].__setitem__(1, "7"),
    "line of a frame": lambda record: record["frames"][0].__setitem__(3, b"x"),
    "positions of a frame": lambda record: record["frames"][0].__setitem__(4, [1]),
    "locals of a frame": lambda record: record["frames"][0].__setitem__(5, ["x", 1]),
    "location": lambda record: record.update(loc_in_frame=["tuple", ["model.py", 8]]),
    "environment": lambda record: record.update(mode=True, environment=7),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_record_that_breaks_a_rule_is_refused(name: str) -> None:
    if name == "environment":
        with pytest.raises(InvalidDocument):
            through_the_codec(
                [made(), new_mode().shape_env], change=lambda document: CHANGES[name](document["contexts"][0])
            )
        return
    with pytest.raises(InvalidDocument):
        through_the_codec(made(), change=lambda document: CHANGES[name](document["contexts"][0]))
