"""The reviewed part of the shipped lists of names, from which `make_names.py` writes them: what is taken from where,
and what never.
"""

from __future__ import annotations

import re

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
    "Types of tensors that are spread over processes; making one needs a spec, which no graph can pass": """
        torch.distributed.tensor.DTensor""",
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
