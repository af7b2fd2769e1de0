"""The document: what stands between the bytes of an archive and torch objects.

A document is one dict of plain values: None, bool, int, float, str, bytes, list, and dict with str keys. It
names no torch class and holds no tuple and no set, so that its wire form needs a dozen opcodes. Every shared
thing is a row in a table and is referred to by its number. `spec/schema-2.md` is the reference; this module
is its typed form.

Values
------
None, bool, int, float, str and bytes stand for themselves. Every other value is a list whose first item is
a tag:
``["tuple", [items]]``, ``["fake", row]``. A list in value position is therefore always a tagged value, and no
value of a user can be taken for a record. `VALUE_TAGS` names every tag of this schema.

History
-------
* 1: torch's own GraphPickler stream, adopted as it is.
* 2 (2026-11, fxarchive 0.3.0): the first document of fxarchive.

How to change the schema
------------------------
A released schema is frozen: `spec/schema-2.json` describes its shape, and a test compares it with this module.

1. A new kind of value, of table or of column: give it a feature flag (`FEATURES`), let the encoder add the
   flag only to archives that use it, describe it in `spec/schema-2.md`, add corpus files. Old readers refuse
   by the flag's name. The release freezes it: ``python tools/describe_schema.py RELEASE``.
2. A change of what exists is a new schema:

   a. Raise `SCHEMA` and `MIN_READER`, and write the line in the history above and in CHANGELOG.
   b. Write `migrations/schema_N_to_M.py`: a docstring whose first line says what the step does (it is shown to
      users), ``SOURCE``, ``upgrade`` and ``downgrade``, pure functions on a `migrations.content.Content`
      that give the same result every time. They raise `UnsupportedValue` with every item that they
      cannot take and what to do about it, and put into ``notes`` what they leave out or cannot know: what a
      ``downgrade`` notes is a loss that the user must allow. Add it to ``migrations.STEPS``.
   c. Write `spec/schema-M.md`, and `spec/schema-M.json` with the tool above. The old pages stay as they are.
   d. Corpus files of the old schema must load, be upgraded to what a save gives now, and come back from
      ``downgrade(upgrade(x))`` as they were; add files of the new one.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

SCHEMA = 2
"""The schema that this release writes."""

MIN_READER = 2
"""The lowest schema whose readers understand a document of `SCHEMA` that uses no feature flag."""

SYMBOLIC_SHAPES = "symbolic-shapes"
"""Feature flag of archives with symbolic sizes, expressions and shape environments."""

OPERATORS_BY_NAME = "operators-by-name"
"""Feature flag of archives with operators whose schema nobody recorded (adopted streams)."""

PARTIAL_FUNCTIONS = "partial-functions"
"""Feature flag of archives with functools.partial."""

SCRIPT_OBJECTS = "script-objects"
"""Feature flag of archives with objects of TorchBind classes, and with the fakes of such objects."""

TENSOR_SUBCLASSES = "tensor-subclasses"
"""Feature flag of archives with tensors around tensors, and with nested integers."""

EXPORTED_PROGRAMS = "exported-programs"
"""Feature flag of archives with ExportedPrograms, or with what their ``module()`` returns."""

NODE_SOURCES = "node-sources"
"""Feature flag of archives that say which earlier nodes their nodes were made from (``from_node``)."""

FACTS = "torch-facts"
"""Feature flag of archives with small records of torch: descriptors, sources, reasons, annotations."""

EXTENSIONS = "extensions"
"""Feature flag of archives with values that a program registered under tags of its own."""

RECORDS = "records"
"""Feature flag of archives with instances of classes of the user, or values of the standard library."""

ARTEFACTS = "artefacts"
"""Feature flag of archives with compiled artefacts."""

TRACING_CONTEXTS = "tracing-contexts"
"""Feature flag of archives with a `torch._guards.TracingContext`."""

ZERO_TENSORS = "zero-tensors"
"""Feature flag of archives with FakeTensors that stand for zeros without elements (`torch._efficientzerotensor`)."""

TRAINING_MODES = "training-modes"
"""Feature flag of archives with GraphModules whose `train` and `eval` quantization took over."""

NESTED_INT_SYMBOLS = "nested-int-symbols"
"""Feature flag of archives with symbols that stand for the ragged sizes of fake jagged tensors."""

NUMPY_ARRAYS = "numpy-arrays"
"""Feature flag of archives with arrays of numpy."""

DISTRIBUTED_TENSORS = "distributed-tensors"
"""Feature flag of archives with tensors that are spread over processes (DTensor), their meshes and placements."""

FEATURES: frozenset[str] = frozenset(
    {
        SYMBOLIC_SHAPES,
        NODE_SOURCES,
        EXPORTED_PROGRAMS,
        FACTS,
        EXTENSIONS,
        RECORDS,
        ARTEFACTS,
        TRACING_CONTEXTS,
        OPERATORS_BY_NAME,
        PARTIAL_FUNCTIONS,
        TENSOR_SUBCLASSES,
        SCRIPT_OBJECTS,
        ZERO_TENSORS,
        TRAINING_MODES,
        NESTED_INT_SYMBOLS,
        NUMPY_ARRAYS,
        DISTRIBUTED_TENSORS,
    }
)
"""Feature flags that this release understands."""

DOCUMENT = "document"
"""Name of the section that holds the document."""

STREAM = "stream"
"""Name of the section that holds the stream of an archive of schema 1."""

SOURCE_COLUMNS = ("pass", "action", "graph", "name", "target", "count", "origins")
"""Columns of the table `sources`, each of row numbers; all but the last have an entry for each row."""

OPS = ("placeholder", "get_attr", "call_function", "call_method", "call_module", "output", "root")
"""Opcodes of fx nodes; a node's opcode is stored as its index here."""

Value: TypeAlias = Any
"""A plain value: an atom or ``[tag, ...]``."""

Column: TypeAlias = list[Any]
"""``[tag, payloads]``: values that all have the form ``[tag, payload]``; or ``["plain", values]``."""

VALUE_TAGS = frozenset(
    {
        # containers
        "tuple", "list", "dict", "set", "frozenset", "ordered", "default", "counter", "deque", "size", "named",
        "ilist", "idict",
        # other values of Python
        "complex", "slice", "range", "ellipsis", "notimplemented", "bytearray", "enum", "annotation",
        "weakref",
        # values of torch
        "dtype", "device", "layout", "memory_format", "qscheme", "generator", "treespec",
        # a class or function that metadata names; it is loaded only if it is listed or trusted
        "name",
        # rows of tables
        "shared", "value", "text", "target", "tensor", "fake", "module", "graph", "node",
        # symbolic shapes (a feature flag)
        "symint", "symfloat", "symbool", "expression", "shape_env", "value_range", "path_key",
        # functools.partial (a feature flag)
        "partial",
        # objects of TorchBind classes (a feature flag)
        "script_object",
        # tensor subclasses (a feature flag)
        "subclass", "nested_int", "dim_range",
        # placements, meshes and specs of tensors that are spread over processes (a feature flag)
        "distributed",
        # exported programs (a feature flag)
        "program", "export",
        # where a node comes from; records of torch; registered values (a feature flag each)
        "node_source", "fact", "extension",
        # instances of classes, values of the standard library (a feature flag)
        "record", "standard", "member",
        # compiled artefacts (a feature flag)
        "artefact",
        # tracing contexts (a feature flag)
        "tracing_context",
        # arrays of numpy (a feature flag)
        "array",
        # a place in a call pattern that takes the next operand
        "hole",
    }
)  # fmt: skip

FLAG_OF_TAG = {
    "symint": SYMBOLIC_SHAPES,
    "symfloat": SYMBOLIC_SHAPES,
    "symbool": SYMBOLIC_SHAPES,
    "expression": SYMBOLIC_SHAPES,
    "shape_env": SYMBOLIC_SHAPES,
    "value_range": SYMBOLIC_SHAPES,
    "partial": PARTIAL_FUNCTIONS,
    "script_object": SCRIPT_OBJECTS,
    "subclass": TENSOR_SUBCLASSES,
    "nested_int": TENSOR_SUBCLASSES,
    "dim_range": TENSOR_SUBCLASSES,
    "distributed": DISTRIBUTED_TENSORS,
    "program": EXPORTED_PROGRAMS,
    "export": EXPORTED_PROGRAMS,
    "node_source": NODE_SOURCES,
    "fact": FACTS,
    "extension": EXTENSIONS,
    "record": RECORDS,
    "standard": RECORDS,
    "member": RECORDS,
    "artefact": ARTEFACTS,
    "tracing_context": TRACING_CONTEXTS,
    "array": NUMPY_ARRAYS,
}
"""The feature flag that an archive must name to hold values of a tag; other tags need none."""

FLAG_OF_FACT = {"zero": ZERO_TENSORS}
"""The feature flag that an archive must name to have a fact in its `descriptions`; other facts need none."""


class Graph(TypedDict):
    """A `torch.fx.Graph` as columns; node i is entry i of each."""

    names: str
    """Names of all nodes, with a newline between; names are identifiers."""
    ops: bytes
    """One byte a node: index into `OPS`."""
    targets: list[int]
    """Row in `targets` for call_function, row in `texts` for every other opcode."""
    patterns: list[list[Any]]
    """``[args, [key, value, key, value, ...]]``: distinct arguments, with ``["hole"]`` where a node
    stands."""
    pattern: list[int]
    """Row in `patterns` of each node."""
    operands: list[int]
    """For each hole of each node in order: the node's number less the number of the node that stands
    there."""
    types: list[list[Any]]
    """``[nodes, values]``: type annotations of the nodes that have one."""
    keys: list[Value]
    """Distinct metadata keys, in the order of their first use."""
    layouts: list[list[int]]
    """Distinct sequences of metadata keys (as indices into `keys`), in a node's own order."""
    layout: list[int]
    """Index into `layouts` of each node."""
    columns: list[Column]
    """For each key, the values of the nodes that have it, in node order."""
    codegen: list[Any]
    """``["plain", function name]`` or ``["pytree", function name, orig_args, in_spec, out_spec]``."""
    tracer: list[Any]
    """``[qualified name of the tracer class or None, value of the tracer extras]``."""


class Module(TypedDict, total=False):
    """A `torch.nn.Module` (`spec/schema-2-modules.md`); lists are left out when they are empty."""

    klass: int
    """Row in `targets`: the module's class; a GraphModule has none, since torch makes one for each."""
    training: bool
    full_backward_hook: bool
    """`_is_full_backward_hook`, which stays set when such hooks are removed; left out when None."""
    parameters: list[Any]
    """``[name, value or None, ...]``, in order, flat; values are tensors."""
    buffers: list[Any]
    """``[name, value or None, persistent, ...]``, in order, flat; values are tensors."""
    modules: list[Any]
    """``[name, row in modules or None, ...]``, in order, flat."""
    attributes: list[Any]
    """``[name, value, ...]``: everything else in the module's ``__dict__``, in order, flat."""
    graph: int
    """Row in `graphs`; a GraphModule has one."""
    waits: bool
    """Whether it is a lazy module of torch.nn that has not seen an input; left out when False."""
    owner: bool
    """Whether the graph's ``owning_module`` is this one; left out when True."""
    lazy: bool
    """Whether it is one of torch's lazy GraphModules; left out when False."""
    class_name: str
    """Name that the GraphModule's own class shows; left out when it is ``GraphModule``."""
    meta: Value
    """``gm.meta`` of a GraphModule."""
    tracer: list[Any]
    """``_tracer_cls`` and ``_tracer_extras``, as in `Graph`; left out when they are those of the graph."""
    unlifted: list[Any]
    """What `ExportedProgram.module` put into a GraphModule: ``[hooks before, hooks after, methods]``, each
    a list of names (feature flag "exported-programs")."""
    train_eval: list[str]
    """``[package, kind]``: whose `train` and `eval` a GraphModule has, and what they do; left out where they are those
    of its class (feature flag "training-modes")."""
    guards: list[Any]
    """``[paths, guards]`` of a module that checks the inputs of another; such a row has no class and no graph
    (feature flag "exported-programs")."""


class Program(TypedDict, total=False):
    """A `torch.export.ExportedProgram` (`spec/schema-2-programs.md`); values where not said otherwise."""

    module: int
    """Row in `modules`: the program's GraphModule."""
    signature: Value
    state: Value
    constants: Value
    ranges: Value
    calls: Value
    """The module call graph."""
    examples: Value
    leaves: Value
    """Leaves of the example inputs where `examples` is their tree spec; left out otherwise."""
    dialects: list[str]
    guards: list[str]
    """Conditions on the inputs, as text; left out by releases that have none."""


class Document(TypedDict):
    """The whole: the tables, and the value that stands at the root."""

    schema: int
    root: Value
    examples: Value
    """None, or ``["tuple", [args, kwargs, outputs]]``: inputs and the outputs computed from them at save."""
    shared: list[Value]
    """Containers that are referred to from more than one place: ``["shared", row]``."""
    values: list[Value]
    """Metadata values that are equal byte for byte; each reference ``["value", row]`` makes a fresh copy."""
    texts: list[str]
    """Strings that repeat or are long: ``["text", row]``; and the names that nodes target."""
    targets: list[list[Any]]
    """Operators, functions and classes: ``[kind, name, ...]``; see `spec/schema-2.md`."""
    graphs: list[Graph]
    modules: list[Module]
    tensors: list[dict[str, Any]]
    storages: list[dict[str, Any]]
    fakes: dict[str, Any]
    """Columns of FakeTensors."""
    descriptions: list[list[Any]]
    """Distinct descriptions of FakeTensors: dtype, sizes, strides, ..."""


def content_section(schema: int) -> str:
    """Return the name of the section that holds the content of an archive of ``schema``.

    >>> content_section(1), content_section(2)
    ('stream', 'document')
    """
    return STREAM if schema == 1 else DOCUMENT


def empty_document() -> Document:
    """Return a document with no rows.

    >>> empty_document()["schema"]
    2
    """
    return {
        "schema": SCHEMA,
        "root": None,
        "examples": None,
        "shared": [],
        "values": [],
        "texts": [],
        "targets": [],
        "graphs": [],
        "modules": [],
        "tensors": [],
        "storages": [],
        "fakes": {},
        "descriptions": [],
    }
