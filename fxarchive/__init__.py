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
    from fxarchive.adoption import AdoptReport, adopt
    from fxarchive.api import SaveReport, dumps, load, loads, save
    from fxarchive.artefact import Artefact, ArtefactCall, SealedArtefact
    from fxarchive.comparison import Comparison, Difference, compare
    from fxarchive.compatibility import Compatibility, compat
    from fxarchive.errors import (
        ArchiveNotFound,
        BadStream,
        CorruptArchive,
        ExtensionFailed,
        FakeModeConflict,
        ForbiddenName,
        FxArchiveError,
        IncompatibleOperator,
        InvalidDocument,
        LossNotAllowed,
        MigrationFailed,
        MissingDevice,
        MissingMesh,
        MissingNumpy,
        MissingOperator,
        MissingTorch,
        NotAGraphPickler,
        NotAnArchive,
        OldSchemaWarning,
        Problem,
        ReplayFailed,
        StoreError,
        TooLarge,
        TooNew,
        TruncatedArchive,
        UnboundArtefact,
        UnknownExtension,
        UnsupportedValue,
        UntrustedNames,
    )
    from fxarchive.extensions import register, unregister
    from fxarchive.inert import InertRecord
    from fxarchive.inspection import ArchiveInfo, inspect
    from fxarchive.limits import Limits
    from fxarchive.orders import UpgradeReport
    from fxarchive.pickler import GraphPickler
    from fxarchive.qualname import QualifiedName
    from fxarchive.upgrading import downgrade, upgrade
    from fxarchive.verification import VerifyReport, verify

__all__ = [
    "AdoptReport",
    "ArchiveInfo",
    "ArchiveNotFound",
    "Artefact",
    "ArtefactCall",
    "BadStream",
    "Comparison",
    "Compatibility",
    "CorruptArchive",
    "Difference",
    "ExtensionFailed",
    "FakeModeConflict",
    "ForbiddenName",
    "FxArchiveError",
    "GraphPickler",
    "IncompatibleOperator",
    "InertRecord",
    "InvalidDocument",
    "Limits",
    "LossNotAllowed",
    "MigrationFailed",
    "MissingDevice",
    "MissingMesh",
    "MissingNumpy",
    "MissingOperator",
    "MissingTorch",
    "NotAGraphPickler",
    "NotAnArchive",
    "OldSchemaWarning",
    "Problem",
    "QualifiedName",
    "ReplayFailed",
    "SaveReport",
    "SealedArtefact",
    "StoreError",
    "TooLarge",
    "TooNew",
    "TruncatedArchive",
    "UnboundArtefact",
    "UnknownExtension",
    "UnsupportedValue",
    "UntrustedNames",
    "UpgradeReport",
    "VerifyReport",
    "__version__",
    "adopt",
    "compare",
    "compat",
    "downgrade",
    "dumps",
    "inspect",
    "load",
    "loads",
    "register",
    "save",
    "unregister",
    "upgrade",
    "verify",
]

_MODULES = {
    "adoption": (
        "AdoptReport",
        "adopt",
    ),
    "api": (
        "SaveReport",
        "dumps",
        "load",
        "loads",
        "save",
    ),
    "comparison": (
        "Comparison",
        "Difference",
        "compare",
    ),
    "compatibility": (
        "Compatibility",
        "compat",
    ),
    "artefact": (
        "Artefact",
        "ArtefactCall",
        "SealedArtefact",
    ),
    "inspection": (
        "ArchiveInfo",
        "inspect",
    ),
    "extensions": (
        "register",
        "unregister",
    ),
    "inert": ("InertRecord",),
    "limits": ("Limits",),
    "pickler": ("GraphPickler",),
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


if not TYPE_CHECKING:  # or any name would have a type

    def __getattr__(name: str) -> Any:
        """Import what is asked for when it is asked for: the command starts twice as fast."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
