"""The bytes of an archive: frames, header, sections, index and digests, as `spec/container.md` says.

It knows bytes and plain values only: no torch, no pickle, nothing of what the sections mean.
"""

from .frames import ALIGNMENT
from .header import CONTAINER_VERSION, MAGIC, Header, Writer, check_supported, header_extent, read_header
from .history import Change
from .index import Section
from .reader import Archive, open_archive
from .sources import RangeReader
from .writer import NewSection, Writable, Written, write

__all__ = [
    "ALIGNMENT",
    "CONTAINER_VERSION",
    "MAGIC",
    "Archive",
    "Change",
    "Header",
    "NewSection",
    "RangeReader",
    "Section",
    "Writable",
    "Writer",
    "Written",
    "check_supported",
    "header_extent",
    "open_archive",
    "read_header",
    "write",
]
