"""Zstandard frames (RFC 8878, section 3.1) as the container uses them.

An archive is a sequence of frames. Ordinary frames hold what is compressed; *skippable* frames, which every
Zstandard decoder passes over, hold the rest. All integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, cast

import zstandard

from ..errors import CorruptArchive, TooLarge

# RFC 8878 gives 0x184D2A50 to 0x184D2A5F to skippable frames. 50 (pzstd) and 5E (the seekable format, and
# dictionary-compressed HTTP bodies, RFC 9842) have users already.
HEADER_FRAME = 0x184D2A5A
DATA_FRAME = 0x184D2A5B
INDEX_FRAME = 0x184D2A5C

SKIPPABLE_HEADER = struct.Struct("<II")
"""Magic number, then the number of bytes that follow."""

MAX_SKIPPABLE_CONTENT = 2**32 - 1

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_HEADER_MAX = 18
"""Bytes of the longest header of an ordinary frame, magic included (RFC 8878, section 3.1.1.1)."""

ZSTD_FRAME_MIN = 9
"""Bytes of the smallest ordinary frame: magic 4, descriptor 1, content size 1, one empty block 3."""

ZSTD_MAX_RATIO = 128 * 1024 // 4
"""No block of four bytes or fewer makes more than 128 KiB (RFC 8878, section 3.1.1.2.3)."""

_LAST_READ = 64 * 1024
"""Bytes at the end of a frame that are not decoded straight into the caller's buffer."""

ALIGNMENT = 64
"""Raw data starts at a multiple of this in the file: a cache line, and what torch's own allocator gives."""

FRAME_DATA_BYTES = 2**32 - 2**16
"""Data bytes that a writer puts into one skippable frame before it begins another; whole pages."""


def skippable_header(kind: int, content: int) -> bytes:
    """The eight bytes before `content` bytes of a skippable frame."""
    return SKIPPABLE_HEADER.pack(kind, content)


def aligned_data_offset(frame_offset: int) -> int:
    """Where the data of a raw section starts whose first frame starts at `frame_offset`."""
    return -(-(frame_offset + SKIPPABLE_HEADER.size) // ALIGNMENT) * ALIGNMENT


def check_zstd_header(prefix: bytes, name: str, size: int, window_limit: int) -> None:
    """Refuse a frame that a reader could not decode within known bounds.

    Args:
        prefix: the first `ZSTD_HEADER_MAX` bytes of the stored section, or all if it is shorter.
        name: the section, for the error.
        size: bytes that the index says come out of the frame.
        window_limit: bytes of window that the reader grants.

    Raises:
        CorruptArchive: no frame, no or another content size, a dictionary, no checksum.
        TooLarge: the window is over the limit.
    """
    where = f"section {name!r}"
    if prefix[:4] != ZSTD_MAGIC:
        raise CorruptArchive(where, "a Zstandard frame should start here and does not")
    try:
        frame = zstandard.get_frame_parameters(prefix)
    except zstandard.ZstdError as error:
        raise CorruptArchive(where, f"the Zstandard frame header is invalid ({error})") from None
    if frame.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise CorruptArchive(where, "the Zstandard frame declares no content size")
    if frame.content_size != size:
        raise CorruptArchive(
            where, f"the Zstandard frame declares {frame.content_size} bytes and the index declares {size}"
        )
    if frame.dict_id:
        raise CorruptArchive(where, f"the Zstandard frame asks for dictionary {frame.dict_id}")
    if not frame.has_checksum:
        raise CorruptArchive(where, "the Zstandard frame has no checksum")
    if frame.window_size > window_limit:
        raise TooLarge(f"The Zstandard window of {where} in bytes", frame.window_size, window_limit)


def decompress(stored: bytes | memoryview, name: str, size: int, window_limit: int) -> bytes:
    """The content of exactly one frame whose header `check_zstd_header` accepted; at most `size` bytes.

    Raises:
        CorruptArchive: the frame does not decode to `size` bytes, or is not alone in `stored`.
    """
    if not size:  # The call below would look no further than the header.
        return _decompress_nothing(stored, name)
    try:
        # The output has the declared size, so a frame that holds more stops there.
        return _decompressor(window_limit).decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _undecodable(name, str(error)) from None


def decompress_into(
    stored: Iterator[bytes | memoryview], name: str, target: memoryview, window_limit: int
) -> None:
    """Fill `target` with the content of exactly one frame whose header `check_zstd_header` accepted.

    Args:
        stored: the frame, in pieces.
        name: the section, for the error.
        target: writable bytes, as many as the frame declares.
        window_limit: bytes of window that the reader grants.

    Raises:
        CorruptArchive: the frame does not decode to as many bytes, or is not alone in `stored`.
    """
    if not target:
        _decompress_nothing(b"".join(stored), name)
        return
    source = _LastByteApart(stored)
    body = max(0, len(target) - _LAST_READ)
    try:
        reader = _decompressor(window_limit).stream_reader(cast("IO[bytes]", source), closefd=False)
        done = 0
        while done < body and (count := reader.readinto(target[done:body])):
            done += count
        # A read that asks for more than is left goes on to the end of the frame, and not beyond it.
        rest = reader.read(len(target) - done + 1)
    except zstandard.ZstdError as error:
        raise _undecodable(name, str(error)) from None
    if done + len(rest) != len(target):
        more = "more" if len(rest) > len(target) - done else "fewer"
        raise _undecodable(name, f"it holds {more} bytes than it declares")
    if not source.ended_with_frame():
        raise _undecodable(name, "it does not end where the section ends")
    target[done:] = rest


def _decompress_nothing(stored: bytes | memoryview, name: str) -> bytes:
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        # The longest header, one empty block and the checksum; what is longer could hold more than one block.
        alone = len(stored) <= ZSTD_HEADER_MAX + 3 + 4
        if alone and frame.decompress(stored) == b"" and frame.eof and not frame.unused_data:
            return b""
    except zstandard.ZstdError as error:
        raise _undecodable(name, str(error)) from None
    raise _undecodable(name, "it declares no bytes and is not an empty frame alone")


class _LastByteApart:
    """A stream that gives the last byte of its input as a piece of its own.

    A decoder stops asking for input where its frame ends. So it asked for the last byte, and for nothing
    after it, exactly if the frame ends there; the decoder itself does not tell how much of a piece it used.
    """

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._next = next(pieces, b"")
        self._gave_last = self._asked_on = False

    def read(self, _size: int = -1) -> bytes | memoryview:
        """The next piece, of any size."""
        if self._gave_last:
            self._asked_on = True
            return b""
        piece = self._next
        following = next(self._pieces, None)
        if following is not None:
            self._next = following
        elif len(piece) > 1:
            piece, self._next = piece[:-1], piece[-1:]
        else:
            self._gave_last = True
        return piece

    def ended_with_frame(self) -> bool:
        """Whether the decoder asked for all of the input and for no more."""
        return self._gave_last and not self._asked_on


def _decompressor(window_limit: int) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=max(window_limit, 1 << 10))


def _undecodable(name: str, reason: str) -> CorruptArchive:
    return CorruptArchive(f"section {name!r}", f"its Zstandard frame does not decode ({reason})")
