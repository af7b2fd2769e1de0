"""A class or function that metadata names and that was not loaded."""

from __future__ import annotations


class QualifiedName(str):
    """The qualified name of a class or function that stood in metadata, in place of the thing itself.

    Metadata such as ``nn_module_stack`` holds classes of the user. Loading never imports them: a name that is
    neither in the shipped list nor in ``trust=`` comes back as this, which prints and compares as a string, and
    which saves again as what it was.

    >>> QualifiedName("mylib.Block") == "mylib.Block"
    True
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"QualifiedName({str(self)!r})"
