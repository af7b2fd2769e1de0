"""What each torch release has: operators with their schemas, and functions; read from shipped tables, without torch.

The tables are text, one line an entry, sorted: ``entry``, or ``entry<TAB>first-last`` where not every release has it.
`tools/make_releases.py` writes them and adds a new release with one command.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""First and last release that has an entry, as indices into `releases`."""

REGISTRARS = {
    "ao": "torch._functorch._activation_offloading.offload_ops",
    "bucketing": "torch._inductor.fx_passes.bucketing",
    "c10d_functional": "torch.distributed._functional_collectives",
    "flex_lib": "torch._dynamo._trace_wrapped_higher_order_op",
    "fsdp": "torch.distributed.fsdp._fully_shard._fsdp_collectives",
    "prims": "torch._inductor.inductor_prims",
    "quantized_decomposed": "torch.ao.quantization.fx._decomposed",
    "rngprims": "torch._prims.rng_prims",
    "streams": "torch._dynamo.variables.streams",
    "symm_mem": "torch.distributed._symmetric_memory",
    "torch_attn": "torch.nn.attention.varlen",
}
"""Namespace -> the module of torch that registers its operators, or the last of them, when it is imported."""


@functools.cache
def releases() -> tuple[str, ...]:
    """Return the releases that the tables know, oldest first.

    >>> releases()[:3]
    ('2.7', '2.8', '2.9')
    """
    return tuple(_lines("operators")[0].removeprefix("# torch ").split())


def release_of(version: str) -> str:
    """Return the release that a version of torch belongs to.

    Args:
        version: such as ``torch.__version__``.

    Raises:
        ValueError: it is not a version.

    >>> release_of("2.13.0+cpu"), release_of("2.9")
    ('2.13', '2.9')
    """
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        raise ValueError(f"{version!r} is not a release of torch; give one such as 2.13 or 2.13.0.")
    return f"{int(parts[0])}.{int(parts[1])}"


def number_of(version: str) -> tuple[int, int]:
    """Return the release of a version of torch as two numbers, which compare as releases do.

    Raises:
        ValueError: it is not a version.

    >>> number_of("2.9.1") < number_of("2.10.0")
    True
    """
    major, minor = release_of(version).split(".")
    return int(major), int(minor)


def schema_in(operator: str, release: str) -> str | None:
    """Return the schema that an operator has in a release, or None where that release lacks it.

    Args:
        operator: ``aten::add.Tensor``; the default overload has no suffix.
        release: one of `releases`.

    Raises:
        ValueError: the tables do not know the release.

    >>> schema_in("aten::cholesky", "2.13"), schema_in("aten::cholesky", "2.14")
    ('aten::cholesky(Tensor self, bool upper=False) -> Tensor', None)
    """
    at = _index(release)
    return next((text for text, (first, last) in history(operator) if first <= at <= last), None)


def has_operator(name: str, release: str) -> bool:
    """Whether a release has any overload of ``namespace::operator``."""
    at = _index(release)
    return any(
        first <= at <= last
        for overload in _overloads().get(name, ())
        for _, (first, last) in history(overload)
    )


@functools.cache
def namespaces() -> frozenset[str]:
    """Return the namespaces in which some release registers operators."""
    return frozenset(name.partition("::")[0] for name in _operators()) | REGISTRARS.keys()


def span_of(name: str) -> tuple[str, str] | None:
    """Return the first and the last release that has what a qualified name says; None if no table says.

    >>> span_of("torch.float8_e8m0fnu"), span_of("mine.float8")
    (('2.7', '2.15'), None)
    """
    span = _functions().get(name)
    return None if span is None else (releases()[span[0]], releases()[span[1]])


def has_function(name: str, release: str) -> bool | None:
    """Whether a release has a function, class, constant or higher-order operator; None if no table says.

    Args:
        name: qualified, such as ``torch.relu``.
        release: one of `releases`.

    Raises:
        ValueError: the tables do not know the release.

    >>> has_function("torch.vitals_enabled", "2.7"), has_function("torch.vitals_enabled", "2.13")
    (True, False)
    """
    at = _index(release)
    span = _functions().get(name)
    return None if span is None else span[0] <= at <= span[1]


def history(operator: str) -> tuple[tuple[str, Span], ...]:
    """Return each schema that an operator has had, with the releases that have it, oldest first."""
    return tuple(_operators().get(operator, ()))


def _index(release: str) -> int:
    try:
        return releases().index(release)
    except ValueError:
        known = releases()
        raise ValueError(
            f"the tables know torch {known[0]} to {known[-1]}, and not {release}; name one of these."
        ) from None


@functools.cache
def _operators() -> dict[str, list[tuple[str, Span]]]:
    found: dict[str, list[tuple[str, Span]]] = {}
    for text, span in _entries("operators"):
        found.setdefault(text.partition("(")[0], []).append((text, span))
    for schemas in found.values():
        schemas.sort(key=lambda entry: entry[1])
    return found


@functools.cache
def _overloads() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in _operators():
        found.setdefault(name.partition(".")[0], []).append(name)
    return found


@functools.cache
def _functions() -> dict[str, Span]:
    return dict(_entries("functions"))


def _entries(table: str) -> list[tuple[str, Span]]:
    at = {release: index for index, release in enumerate(releases())}
    always = (0, len(at) - 1)
    entries = []
    for line in _lines(table)[1:]:
        text, _, span = line.partition("\t")
        first, _, last = span.partition("-")
        entries.append((text, (at[first], at[last]) if span else always))
    return entries


def _lines(table: str) -> list[str]:
    return (Path(__file__).parent / f"{table}.txt").read_text(encoding="utf-8").splitlines()
