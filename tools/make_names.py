"""Write the shipped lists of names: `fxarchive/names/{functions,modules,classes}.txt`.

    python tools/make_names.py PYTHON_FUNCTIONS_JSONL

The names are those of the installed torch, and those of PYTHON_FUNCTIONS_JSONL (lines ``["name", [[first,
last], ...]]``) that other releases have: a name that the running torch lacks is a missing operator, not an
untrusted one. Every entry comes from a group below, and each group says why its names are safe to call with
arguments from a file. `DENIED` holds whatever a group would bring in that reads or writes files, loads or
compiles code, talks to a network or another process, or turns a string into something to call.
"""

from __future__ import annotations

import builtins
import enum
import importlib
import inspect
import json
import math
import operator
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

NAMES = Path(__file__).resolve().parent.parent / "fxarchive" / "names"

DENIED = re.compile(
    r"""(?:^|\.)(?:
      # files, networks, processes
      load|save|from_file|_from_blob|read_.*|write_.*|open|.*_file|.*_url.*|fork|wait|_wait
    | .*multiprocessing.*|get_file_path
    | share_memory_|module_load|storage|untyped_storage|_typed_storage|_reduce_ex_internal
    |_make_wrapper_subclass|_make_subclass
    # code: compiling, scripting, importing, registering, hooking
    | compile|script|trace|wrap|_wraps_.*|_dtensor_.*|_clear_non_serializable_cached_data|dump_.*
    |_reparametrize_module|.*_jit_.*|jit_.*|.*import.*|.*register.*|.*hook.*|load_library|_dispatch_.*
    |.*boolean_dispatch|_overload
    | .*torch_function.*|.*torch_dispatch.*|.*docstring.*|_add_docstr|overload|wraps|lru_cache|cache
    |deprecated|contextmanager
    # pickling
    | _|setup_docs|__reduce(?:_ex)?__|__setstate__|__getstate__|_rebuild.*|__deepcopy__|__copy__
    # attribute walks and class surgery by string
    | __getattr(?:ibute)?__|__setattr__|__delattr__|__class__|__dict__|__dir__|__init_subclass__
    |__subclasshook__|__new__|__init__
    | __class_getitem__|__del__|__weakref__|__module__|__doc__|__sizeof__|__format__|__instancecheck__
    |_module_class
    # raw memory and foreign objects
    | .*data_ptr.*|.*dlpack.*|frombuffer|__cuda_array_interface__|_to_dlpack.*
    # global state of the process that no graph needs
    | set_num_threads|set_num_interop_threads|set_default_.*|set_printoptions|set_flush_denormal
    |use_deterministic_algorithms
    | set_deterministic_debug_mode|set_float32_matmul_precision|set_warn_always|_set_deterministic.*|.*vital.*
    )$""",
    re.VERBOSE,
)

NOT_GRAPH_FUNCTIONS = frozenset(
    """
    assert_int_or_pair boolean_dispatch cast dataclass field namedtuple partial overload get_args get_origin
    handle_torch_function has_torch_function has_torch_function_unary has_torch_function_variadic tree_map
    """.split()  # noqa: SIM905
)
"""Helpers that modules of functions import for themselves."""


class Group:
    """Names of one kind, with the reason for their being listed."""

    def __init__(self, title: str, names: Iterable[str]) -> None:
        self.title, self.names = title, sorted(set(names))


def lookup(name: str) -> Any:
    """Return what a dotted name says, importing modules on the way; None if the installed torch lacks it."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                thing = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part, None)
        return thing
    return None


def is_function(thing: Any) -> bool:
    return isinstance(
        thing,
        types.FunctionType
        | types.BuiltinFunctionType
        | types.MethodDescriptorType
        | types.WrapperDescriptorType,
    )


def public(names: Iterable[str], keep: Callable[[str], bool] = lambda name: True) -> list[str]:
    return [
        name
        for name in names
        if not DENIED.search(name) and name.rpartition(".")[2] not in NOT_GRAPH_FUNCTIONS and keep(name)
    ]


def functions_of(prefix: str, recorded: dict[str, list[str]], own: bool = False) -> list[str]:
    """Functions of a namespace: those that the installed torch has, and recorded names that it lacks.

    ``own`` leaves out what a Python module only imported from elsewhere.
    """
    scope = lookup(prefix)
    if scope is None:
        scope = types.ModuleType(prefix)
    found = {name for name in dir(scope) if is_function(getattr(scope, name, None))}
    if own:
        found = {name for name in found if getattr(getattr(scope, name), "__module__", prefix) == prefix}
    lost = {
        name
        for name in recorded.get(prefix, [])
        if not hasattr(scope, name) and re.match(r"_{0,2}[a-z]", name)
    }
    return public(f"{prefix}.{name}" for name in found | lost)


def torch_functions(recorded: dict[str, list[str]]) -> list[str]:
    """Functions at the top of torch: all that torch binds to operators, and a reviewed list of the others."""
    bound = [
        name
        for name in dir(torch._C._VariableFunctions)
        if hasattr(torch, name) and not name.startswith("__")
    ]
    lost = [name for name in recorded["torch"] if not hasattr(torch, name) and re.match(r"_?[a-z]", name)]
    lost = [name for name in lost if name not in torch._C.__dict__]
    return public(
        f"torch.{name}" for name in {*bound, *lost, *TORCH_OTHERS} if not name.startswith("_functionalize_")
    )


TORCH_OTHERS = """
sym_float sym_fresh_size sym_int sym_ite sym_max sym_min sym_not sym_sqrt sym_sum _sym_sqrt _sym_abs _sym_acos
_sym_asin _sym_atan _sym_ceil _sym_cos _sym_cosh _sym_exp _sym_floor _sym_log _sym_log2 _sym_log10 _sym_sin
_sym_sinh _sym_tan _sym_tanh _sym_cbrt _check _check_index _check_is_size _check_not_implemented
_check_tensor_all _check_tensor_all_with _check_type _check_value _check_with _assert _constrain_as_size
is_tensor is_storage is_grad_enabled is_inference_mode_enabled is_autocast_enabled is_autocast_cache_enabled
is_autocast_cpu_enabled is_anomaly_enabled are_deterministic_algorithms_enabled get_autocast_dtype
get_autocast_cpu_dtype get_autocast_gpu_dtype get_default_dtype get_default_device get_rng_state set_rng_state
manual_seed seed initial_seed set_autocast_enabled set_autocast_dtype set_autocast_cache_enabled
set_autocast_cpu_enabled set_autocast_cpu_dtype set_autocast_gpu_dtype autocast_increment_nesting
autocast_decrement_nesting clear_autocast_cache broadcast_shapes broadcast_tensors split einsum norm stft
istft tensordot unique unique_consecutive unravel_index meshgrid cartesian_prod block_diag cdist atleast_1d
atleast_2d atleast_3d chain_matmul align_tensors lu pca_lowrank svd_lowrank lobpcg eig lstsq matrix_rank solve
symeig quantized_gru quantized_lstm typename vmap cond while_loop
""".split()  # noqa: SIM905

BUILTINS = """
abs all any bool bytes complex dict divmod enumerate filter float frozenset getattr hasattr int isinstance
issubclass iter len list map max min next object pow print range repr reversed round set slice sorted str sum
tuple type zip
""".split()  # noqa: SIM905

SYMBOLIC_SHAPES = """
_advise_is_bounded _advise_is_size _constrain_range_for_size _constrain_symbol_range
cast_symbool_to_symint_guardless constrain_range constrain_unify definitely_false definitely_true expect_true
guard_bool guard_float guard_int guard_or_false guard_or_true guard_scalar guard_size_oblivious
guarding_hint_or_throw has_guarding_hint has_hint has_static_value hint_int is_concrete_bool is_concrete_float
is_concrete_int optimization_hint rebind_unbacked resolve_unbacked_bindings size_hint statically_known_false
statically_known_true sym_and sym_eq sym_or is_nested_int canonicalize_bool_expr
""".split()  # noqa: SIM905

STATE = """
torch._C._set_grad_enabled torch._C._set_fwd_grad_enabled torch._C._set_multithreading_enabled
torch._C._set_view_replay_enabled torch._C._set_autograd_fallback_mode torch._C._enter_dual_level
torch._C._exit_dual_level torch._C._is_fwd_grad_enabled torch._C._awaitable_nowait
torch._C._vmapmode_increment_nesting torch._C._vmapmode_decrement_nesting torch._C._get_tracing_state
torch._C._are_functorch_transforms_active torch._C._autograd._saved_tensors_hooks_disable
torch._C._autograd._saved_tensors_hooks_enable torch._C._autograd._saved_tensors_hooks_set_tracing
torch._C._log_api_usage_once torch._C.get_default_dtype torch._C._get_cudnn_sdp_enabled
torch._C._get_flash_sdp_enabled torch._C._get_math_sdp_enabled torch._C._get_mem_efficient_sdp_enabled
torch._C._set_sdp_use_flash torch._C._set_sdp_use_math torch._C._set_sdp_use_mem_efficient
torch._C._set_sdp_use_cudnn torch._C._set_sdp_use_overrideable torch._C._set_sdp_priority_order
torch._C._get_sdp_priority_order torch.amp.autocast_mode._enter_autocast
torch.amp.autocast_mode._exit_autocast torch.autograd.grad_mode.set_grad_enabled
torch.autograd.grad_mode._enter_inference_mode torch.autograd.grad_mode._exit_inference_mode
torch.autograd._profiler_enabled torch.autograd.forward_ad.make_dual torch.autograd.forward_ad.unpack_dual
torch.autograd.forward_ad.enter_dual_level torch.autograd.forward_ad.exit_dual_level
torch.autograd.forward_ad._set_fwd_grad_enabled torch.autograd.forward_ad._maybe_load_decompositions
torch.autograd.grad torch.autograd.backward torch.autograd.function.custom_function_call
torch.autograd.function._call_custom_function_call torch.autograd._functions.utils.maybe_view
torch.autograd.functional.jacobian torch.autograd.functional.hessian torch.autograd.functional.vjp
torch.autograd.functional.jvp torch.autograd.functional.hvp torch.autograd.functional.vhp
torch.compiler.is_compiling torch.compiler.is_dynamo_compiling torch.compiler.is_exporting
torch.utils.checkpoint.checkpoint torch.utils.checkpoint.checkpoint_sequential
torch.utils.checkpoint.create_selective_checkpoint_contexts torch.nn.attention._sdpa_kernel
torch.nn.attention._cur_sdpa_kernel_backends torch.nn.attention._backend_from_string
torch.nn.attention._sdpa_kernel_variadic torch.cuda.synchronize torch.cuda.current_device
torch.cuda.current_stream torch.cuda.default_stream torch.cuda.set_stream torch.cuda.stream
torch.cuda.device_count torch.cuda.is_available torch.cuda.get_rng_state torch.cuda.set_rng_state
torch.cuda.get_device_capability torch.cuda.get_device_properties torch.cuda.is_bf16_supported
torch.cpu.current_stream torch.cpu.synchronize torch.cpu.current_device torch.cpu.device_count
torch.cpu.is_available torch.xpu.current_device torch.xpu.current_stream torch.xpu.synchronize
torch.xpu.device_count torch.xpu.is_available torch.accelerator.current_accelerator
torch.accelerator.is_available torch.accelerator.current_device_index
torch.backends.cuda.can_use_flash_attention torch.backends.cuda.can_use_efficient_attention
torch.backends.cuda.can_use_cudnn_attention torch.backends.cuda.flash_sdp_enabled
torch.backends.cuda.math_sdp_enabled torch.backends.cuda.mem_efficient_sdp_enabled
torch.backends.mha.get_fastpath_enabled torch.backends.cudnn.is_acceptable
""".split()  # noqa: SIM905

HELPERS = """
torch._functorch.vmap.lazy_load_decompositions
torch._higher_order_ops.associative_scan.associative_scan torch._higher_order_ops.scan.scan
torch._higher_order_ops.cond.cond torch._higher_order_ops.while_loop.while_loop
torch._higher_order_ops.map.map torch._higher_order_ops.foreach_map.foreach_map
torch._higher_order_ops.strict_mode.strict_mode torch._higher_order_ops.out_dtype.out_dtype
torch._higher_order_ops.associative_scan.generic_associative_scan
torch._higher_order_ops.associative_scan.wrap_combine_fn_flat
torch._higher_order_ops.scan.wrap_combine_fn_flat torch._higher_order_ops.scan.generic_scan
torch._higher_order_ops.utils.first_slice_copy torch._higher_order_ops.utils.first_slice_copy_with_grad
torch._dynamo._trace_wrapped_higher_order_op.trace_wrapped
torch._dynamo._trace_wrapped_higher_order_op._trace_wrapped_functionalized
torch._dynamo._trace_wrapped_higher_order_op.mod_index
torch._dynamo._trace_wrapped_higher_order_op.TransformGetItemToIndex torch._dynamo.utils.call_size
torch._dynamo.utils.call_stride torch._dynamo.utils.call_storage_offset torch._dynamo.utils.numpy_attr_wrapper
torch._dynamo.utils._assert torch._dynamo.external_utils.is_compiling
torch._dynamo.external_utils.untyped_storage_size torch._dynamo.external_utils.call_accumulate_grad
torch._dynamo.variables.streams.stream_dec torch._dynamo.utils.get_fake_value
torch._subclasses.functional_tensor.disable_functional_mode torch._library.utils.get_layout_constraint_tag
torch._utils._get_device_index torch._utils.is_compiling torch._linalg_utils.matmul torch._linalg_utils.bform
torch._linalg_utils.qform torch._linalg_utils.symeig torch._linalg_utils.basis torch._linalg_utils.conjugate
torch._linalg_utils.transpose torch._linalg_utils.transjugate torch._linalg_utils.get_floating_dtype
torch._linalg_utils.is_sparse torch._linalg_utils._symeig torch._lowrank.svd_lowrank
torch._lowrank.pca_lowrank torch._lowrank.get_approximate_basis torch._lowrank._svd_lowrank
torch.nn.modules.utils._single torch.nn.modules.utils._pair torch.nn.modules.utils._triple
torch.nn.modules.utils._quadruple torch.nn.modules.utils._ntuple torch.nn.modules.utils._list_with_default
torch.nn.modules.utils._reverse_repeat_tuple torch.nn._reduction.get_enum torch.nn._reduction.legacy_get_enum
torch.nn._reduction.legacy_get_string torch.nn.modules.activation._is_make_fx_tracing
torch.nn.modules.activation._arg_requires_grad torch.nn.modules.activation._check_arg_device
torch.nn.utils.rnn.pack_padded_sequence torch.nn.utils.rnn.pad_packed_sequence torch.nn.utils.rnn.pad_sequence
torch.nn.utils.rnn.pack_sequence torch.nn.utils.rnn.unpad_sequence torch.nn.utils.rnn.unpack_sequence
torch.nn.utils.rnn.invert_permutation torch.nn.utils.rnn._packed_sequence_init
torch.nn.utils.rnn._packed_sequence_init_args torch.nn.utils.clip_grad.clip_grad_norm_
torch.nn.utils.clip_grad.clip_grad_value_ torch.nn.utils.clip_grad._get_total_norm
torch.nn.utils.clip_grad._clip_grads_with_norm_ torch.nn.utils.convert_parameters.parameters_to_vector
torch.nn.utils.convert_parameters.vector_to_parameters torch.utils._pytree.tree_flatten
torch.utils._pytree.tree_unflatten torch.utils._pytree.tree_leaves torch.fx._symbolic_trace._assert_is_none
torch.fx.node.has_side_effect torch.fx.immutable_collections._no_mutation
torch.ao.quantization.fx._decomposed.quantize_per_tensor
torch.ao.quantization.fx._decomposed.dequantize_per_tensor torch.overrides.is_tensor_like
torch._jit_internal.is_scripting torch._jit_internal._is_tensor_like
torch.distributed.distributed_c10d.get_rank torch.distributed.distributed_c10d.get_world_size
torch.distributed.distributed_c10d.is_initialized torch.distributed.distributed_c10d.is_available
torch.distributed.distributed_c10d._resolve_process_group
torch.distributed.distributed_c10d._get_group_size_by_name
torch._utils._flatten_dense_tensors torch._utils._unflatten_dense_tensors
torch.nested._internal.nested_tensor.buffer_from_jagged torch.nested._internal.nested_tensor.jagged_from_list
torch.nested._internal.nested_tensor.jagged_from_tensor_and_lengths
torch.nested._internal.nested_tensor.nested_from_padded
torch.nested._internal.nested_tensor.nested_view_from_values_offsets
torch.nested._internal.nested_tensor.nested_view_from_values_offsets_lengths
torch.accelerator.current_stream torch.accelerator.set_stream torch.accelerator.synchronize
torch.accelerator.device_count
""".split()  # noqa: SIM905

NAMESPACES = {
    "Functions bound to operators in the C namespaces: they compute on tensors": [
        "torch._C._fft", "torch._C._linalg", "torch._C._nested", "torch._C._nn", "torch._C._sparse",
        "torch._C._special",
    ],
    "Public function namespaces of torch: they compute on tensors": [
        "torch.fft", "torch.functional", "torch.linalg", "torch.masked", "torch.masked._ops",
        "torch.nested", "torch.nn.functional",
        "torch.nn.grad", "torch.signal.windows", "torch.signal.windows.windows", "torch.sparse",
        "torch.special",
    ],
    "Function transforms as dynamo and functorch put them in graphs: levels are entered and left by number": [
        "torch._C._functorch", "torch._functorch.apis", "torch._functorch.deprecated",
        "torch._functorch.eager_transforms",
        "torch._functorch.functional_call", "torch._functorch.batch_norm_replacement",
        "torch._functorch.predispatch",
        "torch._functorch.utils", "torch._functorch.vmap", "torch.func",
    ],
    "Reference implementations and prims written in Python: they compute on tensors": [
        "torch._prims", "torch._prims_common", "torch._refs", "torch._refs.fft", "torch._refs.linalg",
        "torch._refs.nn.functional",
        "torch._refs.special", "torch._decomp.decompositions",
    ],
    "Traceable collectives: they talk to the process group that the caller has made, and to nothing else": [
        "torch.distributed._functional_collectives",
    ],
    "torch-numpy functions, which dynamo calls through the wrappers of torch._dynamo.utils": [
        "torch._numpy", "torch._numpy.fft", "torch._numpy.linalg", "torch._numpy.random",
    ],
}  # fmt: skip

OWN = (
    "torch._prims",
    "torch._refs",
    "torch._decomp",
    "torch._functorch",
    "torch.distributed",
    "torch.masked",
    "torch.nn",
    "torch.sparse",
)
"""Python modules of which only what they define is listed, not what they import."""


def function_groups(recorded: dict[str, list[str]]) -> list[Group]:
    math_names = [name for name in dir(math) if not name.startswith("_") and callable(getattr(math, name))]
    operator_names = [
        name
        for name in dir(operator)
        if not name.startswith("_") and isinstance(getattr(operator, name), types.BuiltinFunctionType)
    ]
    return [
        Group(
            "Functions of torch: they compute on tensors, ask for a property, or check a condition",
            torch_functions(recorded),
        ),
        *(
            Group(
                title,
                [
                    name
                    for prefix in prefixes
                    for name in functions_of(prefix, recorded, prefix.startswith(OWN))
                ],
            )
            for title, prefixes in NAMESPACES.items()
        ),
        Group(
            "Methods of Tensor, called as functions: they compute on tensors; none looks up an attribute",
            functions_of("torch.Tensor", recorded),
        ),
        Group("Methods of torch._numpy.ndarray, called through numpy_method_wrapper", ndarray_methods()),
        Group(
            "Helpers of symbolic shapes: they read or constrain a number",
            [f"torch.fx.experimental.symbolic_shapes.{name}" for name in SYMBOLIC_SHAPES],
        ),
        Group(
            "Switches that dynamo records when a graph enters and leaves a mode, and questions about devices",
            STATE,
        ),
        Group("Helpers of torch that tracers put in graphs", HELPERS),
        Group(
            "Operators of Python. Not listed: attrgetter, methodcaller and itemgetter, which make "
            "something to call from a string, and call",
            [f"operator.{name}" for name in operator_names if name != "call"],
        ),
        Group("Mathematics of Python: numbers in, numbers out", [f"math.{name}" for name in math_names]),
        Group(
            "Builtins that tracers put in graphs. getattr is what x.shape becomes in every traced graph. "
            "Not listed: eval, exec, compile, __import__, open, input, breakpoint, globals, "
            "locals, vars, dir, setattr, delattr, callable, super, memoryview, help",
            [f"builtins.{name}" for name in BUILTINS if not isinstance(getattr(builtins, name), type)],
        ),
        Group(
            "einops: they rearrange tensors by a pattern that einops parses itself",
            [f"einops.einops.{name}" for name in ("rearrange", "reduce", "repeat", "einsum", "parse_shape")]
            + [f"einops.packing.{name}" for name in ("pack", "unpack")]
            + [
                f"einops.{name}"
                for name in ("rearrange", "reduce", "repeat", "einsum", "pack", "unpack", "parse_shape")
            ],
        ),
    ]


def ndarray_methods() -> list[str]:
    ndarray = lookup("torch._numpy.ndarray")
    return public(
        f"torch._numpy.ndarray.{name}" for name in dir(ndarray) if is_function(getattr(ndarray, name))
    )


def walk(package: str, skip: str) -> None:
    """Import every module of a package, so that its classes can be found."""
    found = importlib.import_module(package)
    for info in pkgutil.walk_packages(found.__path__, f"{package}.", onerror=lambda name: None):
        if not re.search(skip, info.name):
            try:
                importlib.import_module(info.name)
            except Exception as error:  # modules for hardware or packages that this machine lacks
                print(f"not imported: {info.name}: {type(error).__name__}", file=sys.stderr)


def subclasses(base: type) -> set[type]:
    found: set[type] = set()
    pending = [base]
    while pending:
        for child in type.__subclasses__(pending.pop()):
            if child not in found:
                found.add(child)
                pending.append(child)
    return found


def qualified(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def module_groups() -> list[Group]:
    walk("torch.nn", r"torch\.nn\.(?:intrinsic|qat|quantizable|quantized|utils\.(?:prune|_expanded))")
    names = [qualified(cls) for cls in {torch.nn.Module, *subclasses(torch.nn.Module)}]
    fixed = [name for name in names if name.startswith("torch.nn.") and "<" not in name]
    walk("torch.ao", r"_test|\.tests?|__main__|experimental|pt2e|pruning|ns\b")
    names = [qualified(cls) for cls in subclasses(torch.nn.Module)]
    return [
        Group(
            "Modules of torch.nn: rebuilt from their class and their state, without calling __init__", fixed
        ),
        Group(
            "Modules of torch.ao that hold tensors and numbers, not packed weights: likewise",
            [name for name in names if name.startswith(UNPACKED) and "<" not in name],
        ),
    ]


UNPACKED = (
    "torch.ao.nn.intrinsic.modules.", "torch.ao.nn.intrinsic.qat.", "torch.ao.nn.qat.", "torch.ao.nn.quantizable.",
    "torch.ao.nn.quantized.reference.", "torch.ao.quantization.fake_quantize.", "torch.ao.quantization.observer.",
    "torch.ao.quantization.stubs.",
)  # fmt: skip


CLASSES = {
    "Types of Python: they hold data": """
        builtins.NoneType builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict
        builtins.ellipsis builtins.enumerate builtins.float builtins.frozenset builtins.int builtins.list
        builtins.object builtins.range builtins.reversed builtins.set builtins.slice builtins.str
        builtins.tuple builtins.zip builtins.map builtins.filter builtins.type collections.Counter
        collections.OrderedDict collections.defaultdict collections.deque datetime.date datetime.datetime
        datetime.time datetime.timedelta datetime.timezone fractions.Fraction decimal.Decimal
        pathlib.PurePosixPath types.NoneType types.SimpleNamespace types.EllipsisType types.NotImplementedType
        builtins.Exception builtins.ValueError builtins.TypeError builtins.RuntimeError
        builtins.AssertionError builtins.NotImplementedError
        builtins.KeyError builtins.IndexError builtins.AttributeError builtins.StopIteration""",
    "Types that annotations name: nothing is made of them": """
        typing.Any typing.Callable typing.Dict typing.FrozenSet typing.Generic typing.Iterable typing.Iterator
        typing.List typing.Literal typing.Mapping typing.NoReturn typing.Optional typing.Sequence typing.Set
        typing.Tuple typing.Type typing.Union types.UnionType types.GenericAlias collections.abc.Callable
        collections.abc.Iterable collections.abc.Iterator collections.abc.Mapping
        collections.abc.MutableMapping
        collections.abc.Sequence collections.abc.Set""",
    "Types of torch that hold data or describe tensors": """
        torch.Tensor torch._C.TensorBase torch.nn.parameter.Parameter torch.nn.parameter.Buffer
        torch.nn.Parameter torch.nn.Buffer torch.nn.parameter.UninitializedParameter
        torch.nn.parameter.UninitializedBuffer torch.BoolTensor torch.ByteTensor torch.CharTensor
        torch.DoubleTensor torch.FloatTensor torch.HalfTensor torch.IntTensor torch.LongTensor
        torch.ShortTensor torch.BFloat16Tensor torch.Size torch.device torch.dtype torch.layout
        torch.memory_format torch.qscheme torch.finfo torch.iinfo torch.Generator torch.Stream torch.Event
        torch._C.Size torch._C.device torch._C.dtype torch._C.layout torch._C.memory_format torch._C.qscheme
        torch._C.Generator torch._C.Stream torch._C.Event torch.SymInt torch.SymFloat torch.SymBool
        torch.storage.UntypedStorage torch.storage.TypedStorage torch.UntypedStorage torch.cuda.streams.Stream
        torch.cuda.streams.Event torch.cuda.Stream torch.cuda.Event torch.nn.utils.rnn.PackedSequence
        torch._subclasses.fake_tensor.FakeTensor torch._subclasses.functional_tensor.FunctionalTensor
        torch._C.ScriptObject
        torch._numpy._ndarray.ndarray torch._numpy.ndarray torch._C._SDPAParams""",
    "Types of torch.fx: immutable containers, tracers, code generators and the records of passes": """
        torch.fx.graph_module.GraphModule torch.fx.graph.Graph torch.fx.graph.CodeGen
        torch.fx.graph._PyTreeCodeGen torch.fx.graph._PyTreeInfo torch.fx.node.Node torch.fx.proxy.Proxy
        torch.fx._lazy_graph_module._LazyGraphModule torch.fx.interpreter.Interpreter
        torch.fx.immutable_collections.immutable_list torch.fx.immutable_collections.immutable_dict
        torch.fx.passes.shape_prop.TensorMetadata torch.fx.traceback.NodeSource
        torch.fx.traceback.NodeSourceAction torch.fx._symbolic_trace.Tracer torch.fx.proxy.TracerBase
        torch.fx.proxy.GraphAppendingTracer torch.fx.proxy.ScopeContextManager torch.fx.proxy.Scope
        torch.fx.experimental.proxy_tensor.PythonKeyTracer
        torch.fx.experimental.proxy_tensor._ModuleStackTracer
        torch.fx.experimental.proxy_tensor._GraphAppendingTracerEx
        torch.fx.experimental.meta_tracer.MetaTracer torch.fx.experimental.rewriter.RewritingTracer
        torch._dynamo.output_graph.SubgraphTracer torch._dynamo.output_graph.OutputGraph
        torch._dynamo.output_graph.LazyProxy torch.ao.quantization.fx.tracer.QuantizationTracer
        torch.ao.quantization.fx.tracer.ScopeContextManager
        torch._export.passes.lift_constants_pass.ConstantAttrMap torch.export.unflatten.UnflattenedModule
        torch.export.unflatten.InterpreterModule
        torch.export.exported_program.ExportedProgram""",
    "Types that autograd and functorch put in graphs": """
        torch.autograd.function.FunctionCtx torch.autograd.function.BackwardCFunction
        torch.autograd.function.Function torch.autograd.function.InplaceFunction
        torch.autograd.function.NestedIOFunction torch._C._FunctionBase torch.autograd.grad_mode.no_grad
        torch.autograd.grad_mode.enable_grad torch.autograd.grad_mode.set_grad_enabled
        torch.autograd.grad_mode.inference_mode torch.autograd.grad_mode._force_original_view_tracking
        torch.amp.autocast_mode.autocast torch.cuda.amp.autocast_mode.autocast
        torch.cpu.amp.autocast_mode.autocast torch.autograd.forward_ad.dual_level
        torch.autograd.forward_ad.UnpackedDualTensor torch.autograd.profiler.record_function
        torch._C.DisableTorchFunctionSubclass
        torch._C.DisableTorchFunction torch.utils.checkpoint.CheckpointFunction
        torch._C._functorch.CInterpreter""",
    "Options of higher-order operators, which graphs make of plain values": """
        torch._higher_order_ops._invoke_quant.InvokeQuant""",
    "Tensors around tensors: built by the __tensor_unflatten__ of their class from checked parts": """
        torch.nested._internal.nested_tensor.NestedTensor torch.testing._internal.two_tensor.TwoTensor""",
    "Configurations of quantization": """
        torch.ao.quantization.qconfig.QConfig""",
    "Keys of paths in trees": """
        torch.utils._pytree.SequenceKey torch.utils._pytree.MappingKey torch.utils._pytree.GetAttrKey
        torch.fx.experimental.symbolic_shapes.CallMethodKey
        torch.fx.experimental.symbolic_shapes.ConvertIntKey
        torch.fx.experimental.symbolic_shapes.DivideByKey
        torch.fx.experimental.symbolic_shapes.InnerTensorKey""",
}  # fmt: skip

ENUM_SCOPES = (
    "torch._decomp", "torch._export", "torch._functorch", "torch._guards", "torch._higher_order_ops",
    "torch._library", "torch._prims",
    "torch.amp", "torch.ao.quantization", "torch.autograd", "torch.export", "torch.fx",
    "torch.nn.attention", "torch.utils._sympy",
    "torch.utils.checkpoint",
)  # fmt: skip


def class_groups(recorded: dict[str, list[str]]) -> list[Group]:
    for package in ("torch.export", "torch.fx", "torch.ao.quantization.fx"):
        walk(package, r"_test|\.tests?|__main__|graph_drawer|migrate_gm|fb\b")
    for name in ENUM_SCOPES:
        lookup(f"{name}._")
    return_types = [
        f"torch.return_types.{name}"
        for name in dir(torch.return_types)
        if not name.startswith(("__", "_attr"))
    ]
    return_types = [name for name in return_types if type(lookup(name)) is type]
    return_types += [
        f"torch.return_types.{name}" for name in ("qr", "lstsq", "symeig", "eig", "solve", "cholesky_ex")
    ]
    enums = {
        cls
        for cls in subclasses(enum.Enum)
        if cls.__module__.split(".")[0] == "torch" and "<" not in cls.__qualname__
    }
    enums = {cls for cls in enums if cls.__module__.startswith(ENUM_SCOPES)}
    bound = {
        f"torch._C.{name}"
        for name, cls in vars(torch._C).items()
        if isinstance(cls, type) and hasattr(cls, "__members__")
    }
    return [
        *(Group(title, text.split()) for title, text in CLASSES.items()),
        Group("Named tuples that operators return", return_types),
        Group("Enumerations of torch: a member is looked up by its name", {*map(qualified, enums), *bound}),
    ]


def write(path: Path, what: str, groups: list[Group]) -> None:
    """Write one name a line, each name once, under the first group that has it."""
    seen: set[str] = set()
    lines = [f"# {what} Written by tools/make_names.py; change that file, not this one."]
    for group in groups:
        names = [name for name in group.names if name not in seen]
        seen.update(names)
        lines += ["", f"# {group.title}.", *names]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{path.name}: {len(seen)} names")


def main(source: str) -> None:
    recorded: dict[str, list[str]] = {}
    for line in Path(source).read_text(encoding="utf-8").splitlines():
        scope, _, name = json.loads(line)[0].rpartition(".")
        recorded.setdefault(scope, []).append(name)
    write(NAMES / "functions.txt", "Functions that graphs may call.", function_groups(recorded))
    write(NAMES / "modules.txt", "Modules that are rebuilt from their state.", module_groups())
    write(NAMES / "classes.txt", "Classes that values, metadata and types may name.", class_groups(recorded))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(inspect.getdoc(sys.modules[__name__]))
    main(sys.argv[1])
