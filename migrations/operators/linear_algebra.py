"""`cholesky` and `qr`, which torch 2.14 removed in favour of `torch.linalg`."""

from __future__ import annotations

from fxarchive.migrations.operators.calls import Call, Kind, Unportable, Upgrader


def _cholesky(call: Call) -> list[Call]:
    upper = call.argument(1, "upper", False)
    kwargs = {} if upper is False else {"upper": upper}
    matrix = _matrix(call)
    if "out" in call.kwargs:
        kwargs["out"] = call.kwargs["out"]
    return [_modern(call, "linalg_cholesky", (matrix,), kwargs)]


def _qr(call: Call) -> list[Call]:
    some = call.argument(1, "some", True)
    if type(some) is not bool:
        raise Unportable("its argument some is computed; give True or False")
    kwargs = {name: call.kwargs[name] for name in ("Q", "R", "out") if name in call.kwargs}
    mode = () if some else ("complete",)
    return [_modern(call, "linalg_qr", (_matrix(call), *mode), kwargs)]


def _matrix(call: Call) -> object:
    return call.args[0] if call.args else call.kwargs.get("self", call.kwargs.get("input"))


def _modern(call: Call, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> Call:
    """The same kind of call of the operator, or of the function in `torch.linalg`."""
    if call.kind in ("operator", "packet"):
        overload = ".out" if call.name.endswith((".out", ".Q")) else ""
        return Call(call.kind, f"aten::{name}{overload}", args, kwargs)
    return Call("function", f"torch._C._linalg.{name}", args, kwargs)


_CHOLESKY = "torch 2.14 removed it; torch.linalg.cholesky gives the same"
_QR = "torch 2.14 removed it; torch.linalg.qr gives the same"

_FORMS: tuple[tuple[Kind, str], ...] = (
    ("operator", "aten::{}"),
    ("packet", "aten::{}"),
    ("function", "torch.{}"),
    ("function", "torch.Tensor.{}"),
    ("function", "torch._C._VariableFunctions.{}"),
    ("method", "{}"),
)

UPGRADERS = (
    *[
        Upgrader(kind, form.format(name), why, rewrite, since="2.14")
        for name, why, rewrite in (("cholesky", _CHOLESKY, _cholesky), ("qr", _QR, _qr))
        for kind, form in _FORMS
    ],
    Upgrader("operator", "aten::cholesky.out", _CHOLESKY, _cholesky),
    Upgrader("operator", "aten::qr.Q", _QR, _qr),
)
