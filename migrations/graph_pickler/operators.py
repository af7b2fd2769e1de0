"""What a stream does not say of an operator: its schema, and the module that registers it."""

from __future__ import annotations

from fxarchive import releases
from fxarchive.migrations.graph_pickler.recognition import Releases

HIGHER_ORDER = {
    "torch._dynamo._trace_wrapped_higher_order_op": "trace_wrapped",
    "torch._export.wrappers": "_export_tracepoint",
    "torch._functorch.autograd_function": "autograd_function_apply custom_function_call",
    "torch._higher_order_ops._invoke_quant": "invoke_quant invoke_quant_packed",
    "torch._higher_order_ops.aoti_call_delegate": "aoti_call_delegate",
    "torch._higher_order_ops.associative_scan": "associative_scan",
    "torch._higher_order_ops.auto_functionalize": "auto_functionalized auto_functionalized_v2",
    "torch._higher_order_ops.cond": "cond",
    "torch._higher_order_ops.effects": "with_effects",
    "torch._higher_order_ops.executorch_call_delegate": "executorch_call_delegate",
    "torch._higher_order_ops.flat_apply": "flat_apply",
    "torch._higher_order_ops.flex_attention": "flex_attention flex_attention_backward",
    "torch._higher_order_ops.foreach_map": "foreach_map",
    "torch._higher_order_ops.hints_wrap": "hints_wrapper",
    "torch._higher_order_ops.inline_asm_elementwise": "inline_asm_elementwise",
    "torch._higher_order_ops.invoke_leaf_function": "invoke_leaf_function",
    "torch._higher_order_ops.invoke_subgraph": "invoke_subgraph",
    "torch._higher_order_ops.local_map": "local_map_hop",
    "torch._higher_order_ops.map": "map map_impl",
    "torch._higher_order_ops.out_dtype": "out_dtype",
    "torch._higher_order_ops.print": "print",
    "torch._higher_order_ops.register_hook": "register_hook",
    "torch._higher_order_ops.run_const_graph": "run_const_graph",
    "torch._higher_order_ops.scan": "scan",
    "torch._higher_order_ops.strict_mode": "strict_mode",
    "torch._higher_order_ops.torchbind": "call_torchbind",
    "torch._higher_order_ops.triton_kernel_wrap": "triton_kernel_wrapper_functional triton_kernel_wrapper_mutation",
    "torch._higher_order_ops.while_loop": "while_loop while_loop_stack_output",
    "torch._higher_order_ops.wrap": (
        "dynamo_bypassing_wrapper inductor_compiled_code tag_activation_checkpoint wrap wrap_activation_checkpoint "
        "wrap_with_autocast wrap_with_set_grad_enabled"
    ),
    "torch._prims.rng_prims": (
        "graphsafe_run_with_rng_state run_and_save_rng_state run_dtensor_rng_op run_with_rng_state"
    ),
}
"""Module that defines the classes of higher-order operators -> their names, as torch 2.13 has them."""

_MODULES = {name: module for module, names in HIGHER_ORDER.items() for name in names.split()}


def schema(operator: str, written_by: Releases) -> str | None:
    """Return the schema of ``aten::add.Tensor`` in the oldest release that may have written the stream and has it.

    None for an operator that no release of torch registers by itself.
    """
    for release in releases.releases():
        if written_by.includes(releases.number_of(release)):
            found = releases.schema_in(operator, release)
            if found is not None:
                return found
    return None


def module(operator: str) -> str | None:
    """Return the module to import for an operator that ``import torch`` does not register, where it is known."""
    namespace = operator.partition("::")[0]
    return None if namespace == "prims" else releases.REGISTRARS.get(namespace)


def higher_order_module(name: str) -> str:
    """Return the module that defines the class of a higher-order operator."""
    return _MODULES.get(name, "torch._higher_order_ops")
