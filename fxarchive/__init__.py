"""fxarchive keeps torch.fx graphs on disk for years.

>>> import torch, fxarchive
>>> gm = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()))
>>> data = fxarchive.dumps(gm)
>>> fxarchive.loads(data).code == gm.code
True
"""

from fxarchive._version import __version__
from fxarchive.api import SaveReport, dumps, load, loads, save
from fxarchive.errors import (
    ArchiveNotFound,
    CorruptArchive,
    ForbiddenName,
    FxArchiveError,
    IncompatibleOperator,
    InvalidDocument,
    MissingOperator,
    NotAnArchive,
    Problem,
    StoreError,
    TooLarge,
    TooNew,
    TruncatedArchive,
    UnsupportedValue,
    UntrustedNames,
)
from fxarchive.inspection import ArchiveInfo, inspect
from fxarchive.limits import Limits
from fxarchive.qualname import QualifiedName
from fxarchive.verification import VerifyReport, verify

__all__ = [
    "ArchiveInfo",
    "ArchiveNotFound",
    "CorruptArchive",
    "ForbiddenName",
    "FxArchiveError",
    "IncompatibleOperator",
    "InvalidDocument",
    "Limits",
    "MissingOperator",
    "NotAnArchive",
    "Problem",
    "QualifiedName",
    "SaveReport",
    "StoreError",
    "TooLarge",
    "TooNew",
    "TruncatedArchive",
    "UnsupportedValue",
    "UntrustedNames",
    "VerifyReport",
    "__version__",
    "dumps",
    "inspect",
    "load",
    "loads",
    "save",
    "verify",
]
