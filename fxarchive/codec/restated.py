"""Guards that name the inputs of a program in the way of another release, restated in that of the running torch.

Strict exports of torch 2.10 and later write ``L['flat_args'][1]`` for the second input, in guards and in the sources
of symbols, and their `module()` puts the path of that input in its place, as it puts ``L['args_1']`` in the place of
``L['args'][1]``. Torch 2.9 does neither. Exports of torch 2.7 write ``L['args'][0][1]`` for the second argument and
``L['args'][1]['y']`` for the one called y, which no release with guards knows. Torch would generate code with a name
that is not there. So a program has guards that the running torch takes, and each of them knows the text that is saved
again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch.utils import _pytree as pytree

from fxarchive.codec.fast import unlifting
from fxarchive.codec.fast.programs import GUARDS
from fxarchive.codec.guard_modules import input_paths
from fxarchive.codec.symbolic.sources import restated_source, source_text
from fxarchive.guards import INPUTS, is_guard, with_items_renamed

NUMBERED = "flat_args"
"""What strict exports of torch 2.10 and later call the list of all inputs."""

PAIRED = "args"
"""What exports of torch 2.7 call the pair of all arguments, by place and by name."""

_NUMBERED_SOURCE = re.compile(
    rf"{INPUTS}\['{NUMBERED}'\]\[(\d{{1,9}})\](?:\.size\(\)\[(\d{{1,9}})\])?", re.ASCII
)
_SPREAD = re.compile(r"(\w+)_(0|[1-9]\d{0,8})", re.ASCII)
"""What torch calls the arguments that ``*args`` takes."""
_NUMBERS = frozenset({torch.SymInt, torch.SymFloat, torch.SymBool})


class Restated(str):
    """A guard in the names of the running torch; ``written`` is the text that archives keep."""

    written: str


def restated(guard: str, names: dict[str, str]) -> str:
    """Return a guard with the items in ``names`` under their other name; itself if that changes nothing."""
    text = with_items_renamed(written(guard), names)
    if text == guard or not is_guard(text):  # the path to an input may have a key that no guard has
        return guard
    found = Restated(text)
    found.written = written(guard)
    return found


def written(guard: str) -> str:
    """Return the text that an archive keeps of a guard."""
    return guard.written if isinstance(guard, Restated) else guard


def restate_inputs(program: Any) -> None:
    """Let the guards of a whole program, and the sources of its symbols, name inputs as the running torch does."""
    if program.example_inputs is None or GUARDS not in vars(program):  # torch generates none
        return
    arguments = _argument_names(program)
    spread = [found for name in arguments if (found := _SPREAD.fullmatch(name)) and found[1] not in arguments]
    called = {*arguments, *[found[1] for found in spread]}
    needs_names = not unlifting.knows_numbered_inputs()
    lists = {PAIRED} - called
    if needs_names:
        lists |= {NUMBERED, *[found[1] for found in spread]}
    environments = list(_environments(program))
    if not lists or not _mentions(lists, program, environments):
        return
    names: dict[str, str] = {}
    try:
        if needs_names:
            names |= {f"{INPUTS}['{found[1]}'][{found[2]}]": f"{INPUTS}['{found[0]}']" for found in spread}
            if NUMBERED not in called or _are_numbered(program, environments):
                names |= _names_of_numbers(program, arguments)
        if PAIRED in lists:
            names |= _names_of_pairs(program, arguments)
    except (
        ValueError
    ):  # a container of the user's that pytree knows without keys; torch's `module()` needs them
        return
    vars(program)[GUARDS] = [restated(guard, names) for guard in vars(program)[GUARDS]]
    for env in environments:
        for symbol, sources in env.var_to_sources.items():
            env.var_to_sources[symbol] = [
                restated_source(source, with_items_renamed(source_text(source), names)) for source in sources
            ]


def _mentions(lists: set[str], program: Any, environments: list[Any]) -> bool:
    """Whether a guard, or a source of a symbol, names an item of one of the lists of inputs."""
    items = [f"{INPUTS}['{name}'][" for name in lists]
    texts = [written(guard) for guard in vars(program)[GUARDS]]
    for env in environments:
        texts += [source_text(source) for sources in env.var_to_sources.values() for source in sources]
    return any([item in text for text in texts for item in items])


def _names_of_numbers(program: Any, arguments: list[str]) -> dict[str, str]:
    """Return what strict exports of torch 2.10 and later call each input -> its path by names."""
    paths = input_paths(arguments, *program.example_inputs)
    return {
        f"{INPUTS}['{NUMBERED}'][{place}]": f"{INPUTS}{pytree.keystr(path)}"
        for place, path in enumerate(paths)
    }


def _names_of_pairs(program: Any, arguments: list[str]) -> dict[str, str]:
    """Return what exports of torch 2.7 call each input, of the pair of all arguments -> its path by names."""
    args, kwargs = program.example_inputs
    by_place = dict(enumerate(arguments[: len(args)]))
    found: dict[str, str] = {}
    for path, _ in pytree.tree_leaves_with_path((tuple(args), kwargs)):
        place, item, *rest = cast(Any, path)
        name = by_place.get(item.idx) if place.idx == 0 else item.key
        if name is not None:
            of_pair = f"{INPUTS}['{PAIRED}']{pytree.keystr(path)}"
            found[of_pair] = f"{INPUTS}['{name}']{pytree.keystr(tuple(rest))}"
    return found


def _argument_names(program: Any) -> list[str]:
    """Return how torch calls the arguments of `program.module()`."""
    calls = program.module_call_graph
    signature = calls[0].signature if calls else None
    if signature is not None and signature.forward_arg_names:
        return list(signature.forward_arg_names)
    args, kwargs = program.example_inputs
    return [*[f"arg_{place}" for place in range(len(args))], *[str(key) for key in kwargs]]


def _are_numbered(program: Any, environments: list[Any]) -> bool:
    """Whether ``L['flat_args'][1]`` is the second input, although an input is itself called so.

    It is if each source of that form tells where its symbol stands among the inputs. Where it does by accident, the
    symbol is the size of both, so that either name says the same.
    """
    inputs = [
        node.meta.get("val")
        for node, spec in zip(
            program.graph_module.graph.find_nodes(op="placeholder"),
            program.graph_signature.input_specs,
            strict=False,
        )
        if spec.kind.name == "USER_INPUT"
    ]
    numbered = [
        (env, symbol, found)
        for env in environments
        for symbol, sources in env.var_to_sources.items()
        for source in sources
        if (found := _NUMBERED_SOURCE.fullmatch(source_text(source)))
    ]
    return all([_size(inputs, found[1], found[2]) == env.replace(symbol) for env, symbol, found in numbered])


def _size(inputs: list[Any], place: str, dimension: str | None) -> Any:
    """Return a number among the inputs, or a size of a tensor there, as torch's expressions have it; None if none."""
    found: Any = inputs[int(place)] if int(place) < len(inputs) else None
    if isinstance(found, torch.Tensor):
        found = None if dimension is None or int(dimension) >= found.dim() else found.shape[int(dimension)]
    elif dimension is not None:
        found = None
    return found.node.expr if isinstance(found, torch.SymInt | torch.SymFloat) else found


def _environments(program: Any) -> Iterator[Any]:
    """Yield each environment of the symbols of a program's inputs once."""
    seen = set()
    for node in program.graph_module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        env = getattr(
            value.node if type(value) in _NUMBERS else getattr(value, "fake_mode", None), "shape_env", None
        )
        if env is not None and id(env) not in seen:
            seen.add(id(env))
            yield env
