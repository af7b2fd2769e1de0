"""Two archives are compared: every kind of difference is seen, and nothing else."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest

import fxarchive
from fxarchive import container
from fxarchive.comparison import PARTS, Difference, compare
from fxarchive.container import NewSection
from fxarchive.errors import NotAnArchive

from .documents import archive_of, small
from .synthetic import NEWER, OLDER, steps, stream_archive
from .test_old_archives import weights


def differences(left: bytes, right: bytes, **options: Any) -> list[tuple[str, str, str | None, str | None]]:
    found = compare(io.BytesIO(left), io.BytesIO(right), **options)
    assert found.same == (found.differences == ())
    back = compare(io.BytesIO(right), io.BytesIO(left), **options)
    assert {(d.part, d.where, d.left, d.right) for d in back.differences} == {
        (d.part, d.where, d.right, d.left) for d in found.differences
    }
    return [(d.part, d.where, d.left, d.right) for d in found.differences]


def changed(change: Callable[[Any], Any], document: Any = None) -> bytes:
    document = copy.deepcopy(small() if document is None else document)
    change(document)
    return archive_of(document)


def with_bytes(first: int, codec: str = "raw") -> bytes:
    """An archive of `weights` whose section starts with a byte."""
    archive = container.open_archive(archive_of(weights()))
    data = bytes([first]) + bytes(511)
    file = io.BytesIO()
    sections = [archive.copy_of("document"), NewSection("storages/0", codec, 512, [data])]
    container.write(file, archive.header, sections)
    return file.getvalue()


BASE = archive_of(small())


def test_the_same_bytes_are_the_same() -> None:
    assert differences(BASE, archive_of(small())) == []


def node(document: Any) -> Any:
    return document["graphs"][0]


def rename(document: Any) -> None:
    node(document)["names"] = node(document)["names"].replace("tanh", "sinh")


def swap_operands(document: Any) -> None:
    node(document)["operands"][:2] = [1, 2]


def other_target(document: Any) -> None:
    document["targets"][0][1] = "aten::sub.Tensor"


def other_shape(document: Any) -> None:
    document["descriptions"][0][2] = [2, 4]


def other_note(document: Any) -> None:
    document["texts"][5] = "another note, and long enough to stand among the texts"


def train(document: Any) -> None:
    document["modules"][1]["training"] = False


def other_class(document: Any) -> None:
    document["targets"][2][1] = "torch.nn.modules.linear.Identity"


def other_data(document: Any) -> None:
    document["storages"][0]["data"] = b"\1" + bytes(23)


def no_grad(document: Any) -> None:
    del document["tensors"][0]["requires_grad"]


def attribute(document: Any) -> None:
    document["modules"][1]["attributes"] = ["eps", 1e-5]


CASES: dict[str, tuple[Callable[[Any], Any], list[tuple[str, str, str | None, str | None]]]] = {
    "operands": (
        swap_operands,
        [
            (
                "graphs",
                "graph (root) %add",
                "%add : f32[2, 3] = call_function aten.add.Tensor(%x, %w, alpha=2)",
                "%add : f32[2, 3] = call_function aten.add.Tensor(%w, %x, alpha=2)",
            )
        ],
    ),
    "target": (
        other_target,
        [
            (
                "graphs",
                "graph (root) %add",
                "%add : f32[2, 3] = call_function aten.add.Tensor(%x, %w, alpha=2)",
                "%add : f32[2, 3] = call_function aten.sub.Tensor(%x, %w, alpha=2)",
            )
        ],
    ),
    "training": (
        train,
        [
            (
                "modules",
                "module lin",
                "torch.nn.modules.linear.Linear",
                "torch.nn.modules.linear.Linear, in evaluation mode",
            )
        ],
    ),
    "class": (
        other_class,
        [("modules", "module lin", "torch.nn.modules.linear.Linear", "torch.nn.modules.linear.Identity")],
    ),
    "attribute": (attribute, [("modules", "lin.eps", None, "1e-05")]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_one_difference(name: str) -> None:
    change, expected = CASES[name]
    found = differences(BASE, changed(change))
    assert found == expected


def test_bytes_of_weights_are_compared_by_their_digest() -> None:
    ((part, where, left, right),) = differences(BASE, changed(other_data))
    assert (part, where) == ("weights", "lin.weight")
    assert left is not None
    assert right is not None
    assert left.startswith("f32[2, 3], class parameter, requires_grad True, bytes ")
    assert left[:-16] == right[:-16]
    assert left != right


def test_properties_of_a_weight_are_compared() -> None:
    ((part, where, left, right),) = differences(BASE, changed(no_grad))
    assert (part, where) == ("weights", "lin.weight")
    assert "requires_grad True" in str(left)
    assert "requires_grad" not in str(right)


def test_a_shape_of_a_value_is_seen_at_every_node_that_has_it() -> None:
    found = differences(BASE, changed(other_shape))
    assert {(part, where) for part, where, _, _ in found} >= {
        ("graphs", "graph (root) %x"),
        ("graphs", "graph (root) %add"),
    }
    assert all("f32[2, 3]" in str(left) and "f32[2, 4]" in str(right) for _, _, left, right in found)


def test_metadata_of_a_node_is_compared() -> None:
    ((part, where, _, right),) = differences(BASE, changed(other_note))
    assert (part, where) == ("graphs", "graph (root) %add meta[note]")
    assert right == "'another note, and long enough to stand among the texts'"


def test_a_node_that_is_gone_and_one_that_came() -> None:
    found = {where: (left, right) for _, where, left, right in differences(BASE, changed(rename))}
    left, right = found["graph (root) %tanh"]
    assert (left or "").startswith("%tanh = call_method")
    assert right is None
    assert found["graph (root) %sinh"][0] is None
    assert "graph (root) order" in found


def test_the_header_and_the_metadata_of_the_user() -> None:
    writer = container.Writer("0.1.0", "2.14.0", "3.11.8")
    other = archive_of(small(), writer=writer, metadata={"note": "b", "run": 1}, root="Sequential")
    left = archive_of(small(), metadata={"note": "a"})
    assert differences(left, other) == [
        ("header", "writer.torch", "2.13.0", "2.14.0"),
        ("header", "root", "GraphModule", "Sequential"),
        ("metadata", "note", "'a'", "'b'"),
        ("metadata", "run", None, "1"),
    ]
    assert differences(left, other, ignore=["header", "metadata"]) == []
    assert differences(left, other, ignore=["header"])[0][0] == "metadata"


def test_sections_are_compared_by_what_they_hold() -> None:
    assert differences(with_bytes(1), with_bytes(1, "zstd")) == []
    assert differences(with_bytes(1, "zstd"), with_bytes(1, "zstd")) == []
    ((part, where, _, _),) = [
        found for found in differences(with_bytes(1), with_bytes(2, "zstd")) if found[2] is not None
    ]
    assert (part, where.startswith("storage without a name")) == ("weights", True)


def test_sharing_is_part_of_the_rest() -> None:
    def shared(document: Any) -> None:
        document["shared"] = [["list", [1]]]
        document["root"] = ["tuple", [["shared", 0], ["shared", 0]]]

    def apart(document: Any) -> None:
        document["root"] = ["tuple", [["list", [1]], ["list", [1]]]]

    ((part, where, left, right),) = differences(changed(shared, weights()), changed(apart, weights()))
    assert (part, where) == ("rest", "long values, or how values are shared")
    assert left != right


def test_tied_weights_are_told_from_equal_ones() -> None:
    def tie(document: Any) -> None:
        document["modules"][1]["parameters"] = ["weight", ["tensor", 0], "twin", ["tensor", 0]]

    def copied(document: Any) -> None:
        tie(document)
        document["storages"].append({"size": 24, "device": "cpu", "data": bytes(24)})
        document["tensors"].append({**document["tensors"][0], "storage": 3})
        document["modules"][1]["parameters"][3] = ["tensor", 3]

    ((part, where, left, right),) = differences(changed(tie), changed(copied))
    assert (part, where) == ("weights", "lin.twin")
    assert str(left) == f"{right}, in the memory of lin.weight"


def test_an_upgrade_changes_the_header_alone() -> None:
    with steps(OLDER, NEWER, newest=3):
        old = stream_archive()
        archive = container.open_archive(old)
        assert archive.header.schema == 1
        files = fsspec.filesystem("memory")
        files.pipe("/comparison/a.fxa", old)
        fxarchive.upgrade("memory://comparison/a.fxa")
        new = files.cat("/comparison/a.fxa")
        found = differences(old, new)
        assert {part for part, _, _, _ in found} == {"header"}
        assert ("header", "schema", "1", "3") in found
        assert differences(old, new, ignore=["header"]) == []


def test_what_is_no_archive_is_an_error() -> None:
    with pytest.raises(NotAnArchive):
        compare(io.BytesIO(BASE), io.BytesIO(b"PK\3\4"))


def test_parts_are_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^ignore holds 'colours'; it takes header, metadata,"):
        compare(io.BytesIO(BASE), io.BytesIO(BASE), ignore=["colours"])
    assert Difference("rest", "a", "b", None).part not in PARTS


def test_no_weights_are_read() -> None:
    data = bytearray(with_bytes(1))
    start, _ = container.open_archive(data).sections["storages/0"].extents[0]
    data[start] ^= 1  # verify would find it
    assert differences(bytes(data), with_bytes(1)) == []
