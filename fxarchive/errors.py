"""What can go wrong, one class for each thing that a caller may want to do about it.

Every message is one sentence that names the value and the remedy, and every class holds its values as
attributes, so that nobody has to match text. `spec/refusals.md` lists them all with the bytes that cause them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

_UNSAFE = re.compile(r"[^ -~]")


def escaped(text: str) -> str:
    r"""Return ``text`` with whatever a terminal may act on as an escape; letters of any script stay.

    >>> print(escaped("naïve\x1b[31m\n"))
    naïve\x1b[31m\n
    """
    if text.isprintable():
        return text
    return _UNSAFE.sub(lambda found: found[0] if found[0].isprintable() else repr(found[0])[1:-1], text)


def shortened(path: str, longest: int) -> str:
    """Return the path of an offending value without its middle where nobody would read it all.

    >>> shortened("abcdefghijklmnop", 8)
    'abcd ... op'
    """
    return path if len(path) <= longest else f"{path[: longest // 2]} ... {path[-longest // 4 :]}"


class FxArchiveError(Exception):
    """Base of every error that fxarchive raises on purpose; each can be pickled, so it crosses processes.

    Its text is one sentence, with a list below it where there is one. What a file says in it is safe to print.
    """

    def __init__(self, sentence: str, lines: Sequence[str] = ()) -> None:
        super().__init__(escaped(sentence) + "".join([f"\n  {escaped(line)}" for line in lines]))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[FxArchiveError], args: tuple[Any, ...], attributes: dict[str, Any]) -> FxArchiveError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


class StoreError(FxArchiveError, OSError):
    """A path cannot be read or written (a directory, no permission, a full disk).

    Attributes: `path` (str), `reason` (str).
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}.")
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return str(self.args[0])


class ArchiveNotFound(StoreError, FileNotFoundError):
    """There is no file at the path; also a `FileNotFoundError`."""


class MissingTorch(FxArchiveError, ImportError):
    """What was called needs torch, which is not installed or too old; also an `ImportError`.

    Attributes: `found` (str, the release that is installed, or None).
    """

    def __init__(self, found: str | None) -> None:
        which = "is not installed" if found is None else f"{found} is installed"
        super().__init__(
            f"Saving and loading need torch 2.7 or later, and torch {which}; run pip install 'torch>=2.7'."
        )
        self.found = found


class MissingNumpy(FxArchiveError, ImportError):
    """The archive holds arrays of numpy, which is not installed; also an `ImportError`."""

    def __init__(self) -> None:
        super().__init__(
            "The archive holds arrays of numpy, which cannot be imported; run pip install numpy."
        )


class NotAnArchive(FxArchiveError):
    """The bytes are not an fxarchive file at all. Attributes: `reason` (str)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Not an fxarchive file: {reason}.")
        self.reason = reason


class TruncatedArchive(FxArchiveError):
    """The file began as an archive and ends too early; write or fetch it again. Attributes: `reason` (str)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The archive is truncated: {reason}; write or fetch it again.")
        self.reason = reason


class CorruptArchive(FxArchiveError):
    """Bytes were altered or were never written by fxarchive. Attributes: `where` (str), `reason` (str)."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"The archive is corrupt in {where}: {reason}; restore it from a good copy.")
        self.where, self.reason = where, reason


class TooNew(FxArchiveError):
    """The file needs a newer fxarchive.

    Attributes: `what` ("container version", "schema", "feature"), `found` (int or str), `supported` (str),
    `writer` (str, the release that wrote it).
    """

    def __init__(self, what: str, found: int | str, supported: str, writer: str) -> None:
        release = f"fxarchive {writer} or later" if writer[:1].isdigit() else "the newest fxarchive"
        super().__init__(
            f"The archive needs {what} {found} and this fxarchive supports {supported}; "
            f"install {release} to open it."
        )
        self.what, self.found, self.supported, self.writer = what, found, supported, writer


class TooLarge(FxArchiveError):
    """A declared or measured size is over a limit. Attributes: `what` (str), `found` (int), `limit` (int)."""

    def __init__(self, what: str, found: int, limit: int) -> None:
        super().__init__(
            f"{what} is {found}, over the limit of {limit}; see spec/limits.md for how to raise it."
        )
        self.what, self.found, self.limit = what, found, limit


class ForbiddenName(FxArchiveError):
    """A name that could reach generated source is not safe to write there. Attributes: `where`, `name` (str)."""

    def __init__(self, where: str, name: str) -> None:
        super().__init__(
            f"{where} holds the name {name[:80]!r}, which must not reach generated source; "
            "do not load it, or ask who made it."
        )
        self.where, self.name = where, name


class UntrustedNames(FxArchiveError):
    """The file asks for classes or functions outside the shipped list. Attributes: `names` (sorted tuple of str)."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(sorted(names))
        listed = ", ".join(repr(name) for name in self.names)
        super().__init__(
            f"The archive asks for names that are not trusted: {listed}; "
            f"import the modules that define them and pass trust=[{listed}] if you trust them."
        )


class Problem(NamedTuple):
    """One value that cannot be kept, and why."""

    path: str
    why: str


class UnsupportedValue(FxArchiveError):
    """Something in the object cannot be kept. Attributes: `problems` (tuple of `Problem`, every one found)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [f"{path}: {why}" for path, why in self.problems]
        count = len(self.problems)
        noun = "value" if count == 1 else "values"
        super().__init__(
            f"{count} {noun} cannot be kept in an archive; remove or replace what is listed.", lines
        )


class MissingOperator(FxArchiveError):
    """Operators or functions of the file are not in the running torch.

    Attributes: `operators` (tuple of `Problem`: the name, and what to do).
    """

    def __init__(self, operators: Sequence[Problem]) -> None:
        self.operators = tuple(operators)
        lines = [f"{name}: {remedy}" for name, remedy in self.operators]
        super().__init__("The running torch lacks what the archive names; follow the remedy of each.", lines)


class IncompatibleOperator(FxArchiveError):
    """An operator exists but its schema changed. Attributes: `operators` (tuple of `Problem`)."""

    def __init__(self, operators: Sequence[Problem]) -> None:
        self.operators = tuple(operators)
        lines = [f"{name}: {why}" for name, why in self.operators]
        super().__init__("Operators changed since the archive was written; follow the remedy of each.", lines)


class UnboundArtefact(FxArchiveError):
    """A graph called a compiled artefact that nothing was bound to. Attributes: `kind` (str)."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            f"The graph calls a compiled artefact of kind {kind!r}, which fxarchive never opens; open the bytes of "
            "node.target.artefact with what made them and pass the result to node.target.bind()."
        )
        self.kind = kind


class MissingDevice(FxArchiveError):
    """A real tensor belongs on a device that this machine lacks or cannot use.

    Attributes: `device` (str), `forced` (bool, the caller named the device), `reason` (str).
    """

    def __init__(self, device: str, forced: bool, reason: str) -> None:
        remedy = "pass a device that it has" if forced else 'pass device="cpu" to load the tensors there'
        super().__init__(
            f"The archive has tensors for device {device!r}, which cannot be used ({reason}); {remedy}."
        )
        self.device, self.forced, self.reason = device, forced, reason


class MissingMesh(FxArchiveError):
    """Something of the archive is spread over a mesh of processes that the running one is not in.

    Attributes: `mesh` (str), `reason` (str), `remedy` (str).
    """

    def __init__(self, mesh: str, reason: str, remedy: str) -> None:
        super().__init__(f"The archive needs {mesh}, which this process cannot give ({reason}); {remedy}.")
        self.mesh, self.reason, self.remedy = mesh, reason, remedy


class ReplayFailed(FxArchiveError):
    """The stored example inputs do not give the stored outputs again. Attributes: `reason` (str)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The replay of the example inputs failed: {reason}.")
        self.reason = reason


class UnknownExtension(FxArchiveError):
    """The file holds values of kinds that no import has registered. Attributes: `tags` (tuple of `Problem`)."""

    def __init__(self, tags: Sequence[Problem]) -> None:
        self.tags = tuple(tags)
        lines = [f"{tag}: {remedy}" for tag, remedy in self.tags]
        super().__init__(
            "The archive holds values that other packages define; follow the remedy of each.", lines
        )


class ExtensionFailed(FxArchiveError):
    """A registered decoder raised. Attributes: `tag` (str), `version` (int), `reason` (str)."""

    def __init__(self, tag: str, version: int, reason: str) -> None:
        super().__init__(
            f"The decoder registered for {tag!r} failed on a value of its version {version} ({reason}); correct it, or "
            "ask who made the archive."
        )
        self.tag, self.version, self.reason = tag, version, reason


class FakeModeConflict(FxArchiveError):
    """The caller's fake_mode cannot take the symbols of the archive. Attributes: `reason` (str)."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The archive does not fit into the given fake_mode: {reason}; load without fake_mode, or pass a new "
            "FakeTensorMode(shape_env=ShapeEnv())."
        )
        self.reason = reason


class BadStream(FxArchiveError):
    """A stream to adopt is no pickle that can be read, or a broken one. Attributes: `where`, `reason` (str)."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where[:1].upper()}{where[1:]} cannot be read: {reason}; get a good copy of it.")
        self.where, self.reason = where, reason


class NotAGraphPickler(FxArchiveError):
    """A stream to adopt is something else: another pickle, or another kind of file. Attributes: `reason` (str)."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The stream is not one that torch's GraphPickler wrote: {reason}; adopt only such streams, and save "
            "anything else with fxarchive.save."
        )
        self.reason = reason


class MigrationFailed(FxArchiveError):
    """A migration cannot take the content of an older archive; the file is as it was.

    Attributes: `source`, `target` (int, the schemas of the step), `problems` (tuple of `Problem`: each offending
    item and what to do), `path` (str, or None where the archive has none).
    """

    def __init__(
        self, source: int, target: int, problems: Sequence[Problem], path: str | None = None
    ) -> None:
        self.source, self.target, self.problems, self.path = source, target, tuple(problems), path
        lines = [f"{item}: {why}" for item, why in self.problems]
        super().__init__(
            f"The migration from schema {source} to {target} cannot take {path or 'the archive'}, which is left "
            f"as it was; each line says what to do.",
            lines,
        )


class LossNotAllowed(FxArchiveError):
    """Going back to an older schema loses something and nobody allowed it; the file is as it was.

    Attributes: `source`, `target` (int, the schemas of the step), `losses` (tuple of str, all that the step
    loses), `path` (str, or None where the archive has none).
    """

    def __init__(self, source: int, target: int, losses: Sequence[str], path: str | None = None) -> None:
        self.source, self.target, self.losses, self.path = source, target, tuple(losses), path
        lines = self.losses
        super().__init__(
            f"Taking {path or 'the archive'} from schema {source} back to {target} loses what is listed; "
            f"pass allow_loss=True (--allow-loss) to accept that.",
            lines,
        )


class OldSchemaWarning(UserWarning):
    """An archive of an older schema was brought up to date in memory, as at each load until it is upgraded."""


class InvalidDocument(CorruptArchive):
    """The document breaks a rule of its schema, so no writer of fxarchive made it.

    Attributes: `where` (the table and row), `reason`.
    """
