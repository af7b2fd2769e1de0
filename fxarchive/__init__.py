"""fxarchive keeps torch.fx graphs on disk for years.

>>> import torch, fxarchive
>>> gm = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()))
>>> data = fxarchive.dumps(gm)
>>> fxarchive.loads(data).code == gm.code
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fxarchive._version import __version__

if TYPE_CHECKING:
    from fxarchive.api import SaveReport, dumps, load, loads, save
    from fxarchive.errors import (
        ArchiveNotFound,
        CorruptArchive,
        FakeModeConflict,
        ForbiddenName,
        FxArchiveError,
        IncompatibleOperator,
        InvalidDocument,
        LossNotAllowed,
        MigrationFailed,
        MissingDevice,
        MissingOperator,
        NotAnArchive,
        OldSchemaWarning,
        Problem,
        ReplayFailed,
        StoreError,
        TooLarge,
        TooNew,
        TruncatedArchive,
        UnsupportedValue,
        UntrustedNames,
    )
    from fxarchive.inspection import ArchiveInfo, inspect
    from fxarchive.limits import Limits
    from fxarchive.orders import UpgradeReport
    from fxarchive.qualname import QualifiedName
    from fxarchive.upgrading import downgrade, upgrade
    from fxarchive.verification import VerifyReport, verify

__all__ = [
    "ArchiveInfo",
    "ArchiveNotFound",
    "CorruptArchive",
    "FakeModeConflict",
    "ForbiddenName",
    "FxArchiveError",
    "IncompatibleOperator",
    "InvalidDocument",
    "Limits",
    "LossNotAllowed",
    "MigrationFailed",
    "MissingDevice",
    "MissingOperator",
    "NotAnArchive",
    "OldSchemaWarning",
    "Problem",
    "QualifiedName",
    "ReplayFailed",
    "SaveReport",
    "StoreError",
    "TooLarge",
    "TooNew",
    "TruncatedArchive",
    "UnsupportedValue",
    "UntrustedNames",
    "UpgradeReport",
    "VerifyReport",
    "__version__",
    "downgrade",
    "dumps",
    "inspect",
    "load",
    "loads",
    "save",
    "upgrade",
    "verify",
]

_MODULES = {
    "api": (
        "SaveReport",
        "dumps",
        "load",
        "loads",
        "save",
    ),
    "inspection": (
        "ArchiveInfo",
        "inspect",
    ),
    "limits": ("Limits",),
    "orders": ("UpgradeReport",),
    "qualname": ("QualifiedName",),
    "upgrading": (
        "downgrade",
        "upgrade",
    ),
    "verification": (
        "VerifyReport",
        "verify",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the command starts twice as fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
