"""What is measured: workloads, the peers that each one is put through, and where memory is watched.

Nothing here imports torch, so that the process that watches the others stays small.
"""

from __future__ import annotations

from dataclasses import dataclass

OURS = "fxarchive"
PICKLER = "GraphPickler"
PICKLER_ZSTD = "GraphPickler + zstd -3"
SAVE_MODULE = "torch.save(gm)"
EXPORT = "torch.export.save"
SAFETENSORS = "safetensors (weights alone)"
SAVE_STATE = "torch.save(state_dict)"
PLAIN = "plain write + fsync"

EVERY_PEER = (PICKLER, PICKLER_ZSTD, SAVE_MODULE, EXPORT, SAFETENSORS, SAVE_STATE, PLAIN, OURS)


@dataclass(frozen=True)
class Workload:
    """One object to save and load.

    Attributes:
        name: what ``--only`` takes.
        about: one line for the table.
        peers: in the order in which a round measures them.
        memory: those of which the growth of memory is measured too, each in a fresh process; GraphPickler
            is left out where one more save and load of it would take minutes.
    """

    name: str
    about: str
    peers: tuple[str, ...]
    memory: tuple[str, ...]


WORKLOADS = (
    Workload(
        "resnet",
        "ResNet-18 under symbolic_trace",
        EVERY_PEER,
        (PICKLER, SAVE_MODULE, EXPORT, SAFETENSORS, SAVE_STATE, OURS),
    ),
    Workload(
        "gpt2",
        "a decoder of the size of GPT-2 small, captured with torch.export, weights attached",
        EVERY_PEER,
        (PICKLER, SAVE_MODULE, EXPORT, SAFETENSORS, SAVE_STATE, OURS),
    ),
    Workload(
        "gpt2-graph",
        "the same graph with its FakeTensor metadata, weights omitted",
        (PICKLER, PICKLER_ZSTD, OURS),
        (PICKLER, OURS),
    ),
    Workload(
        "gpt2-dynamic",
        "the same decoder exported with a dynamic batch and length, weights omitted",
        (PICKLER, PICKLER_ZSTD, OURS),
        (PICKLER, OURS),
    ),
    Workload(
        "chain100k",
        "a long chain of calls without metadata",
        (PICKLER, PICKLER_ZSTD, SAVE_MODULE, OURS),
        (OURS,),
    ),
    Workload(
        "chain100k-fake",
        "the same chain, each node with a FakeTensor of its own",
        (PICKLER, PICKLER_ZSTD, OURS),
        (OURS,),
    ),
    Workload(
        "chain5k-symbolic",
        "a deep decoder under make_fx with symbolic shapes, a FakeTensor or a symbol on every node",
        (PICKLER, PICKLER_ZSTD, OURS),
        (OURS,),
    ),
)


UPGRADE = "upgrade"
"""What ``--only`` takes for the upgrade of archives, which has no peers but the disk."""


def named(name: str) -> Workload:
    """Return the workload of that name; KeyError when there is none."""
    return {workload.name: workload for workload in WORKLOADS}[name]


def file_name(workload: str, peer: str) -> str:
    """Return the name of the file that ``peer`` saves ``workload`` to, in the folder of the run."""
    kept = "".join(char if char.isalnum() else "-" for char in peer)
    return f"{workload}.{kept}"
