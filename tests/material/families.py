"""Small models of families in `transformers`, exported with a dynamic batch and a dynamic length.

Nothing is downloaded: weights are random. Each has the parts that make its family, in one layer or two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim

Tensors = tuple[torch.Tensor, ...]


class Outputs(nn.Module):
    """A model of `transformers` that takes tensors by position and returns a tuple of tensors."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names, self.outputs = model, names, outputs

    def forward(self, *inputs: torch.Tensor) -> Tensors:
        found = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        return tuple(getattr(found, name) for name in self.outputs)


class Step(nn.Module):
    """A decoder with its cache as tensors: takes what was cached and returns what is to be cached."""

    def __init__(self, model: nn.Module, layers: int) -> None:
        super().__init__()
        self.model, self.layers = model, layers

    def forward(self, tokens: torch.Tensor, *cached: torch.Tensor) -> Tensors:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        for layer in range(self.layers):
            cache.update(cached[2 * layer], cached[2 * layer + 1], layer)
        found = self.model(input_ids=tokens, past_key_values=cache, use_cache=True)
        kept = [state for layer in cache.layers for state in (layer.keys, layer.values)]
        return (found.logits, *kept)


@dataclass(frozen=True)
class Family:
    """How to make one: the module, inputs of a batch and a length, and which of their dimensions change.

    Attributes:
        model: makes the module.
        inputs: makes inputs from (batch, length).
        dynamic: for each input, the dimensions that change.
    """

    model: Callable[[], nn.Module]
    inputs: Callable[[int, int], Tensors]
    dynamic: tuple[tuple[int, ...], ...]


def exported(name: str) -> tuple[fx.GraphModule, Tensors, list[Tensors]]:
    """Export a family.

    Returns:
        The graph module of the program, whose inputs are weights first; these weights; and inputs of two
        sizes, each to be passed after the weights.
    """
    family = FAMILIES[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = family.model().eval()
        inputs = family.inputs(3, 7)
        dims = tuple(dict.fromkeys(dynamic, Dim.AUTO) for dynamic in family.dynamic)
        shapes: Any = (dims,) if isinstance(model, Outputs) else (dims[0], dims[1:])
        with torch.no_grad():
            program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=False)
    found: Any = program.graph_module
    state = {**program.state_dict, **program.constants}
    signature = program.graph_signature
    weights = tuple(state[spec.target] for spec in signature.input_specs if spec.target is not None)
    torch.manual_seed(1)
    return found, weights, [family.inputs(3, 7), family.inputs(2, 9)]


def _ids(*size: int) -> torch.Tensor:
    return torch.randint(1, 90, size)


_SMALL = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 96, "attn_implementation": "eager",
}  # fmt: skip


def _text(config: str, model: str, outputs: tuple[str, ...], **more: Any) -> Callable[[], nn.Module]:
    return _model(config, model, ("input_ids",), outputs, **{**_SMALL, **more})


def _model(
    config: str, model: str, names: tuple[str, ...], outputs: tuple[str, ...], **settings: Any
) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        made = getattr(transformers, model)(getattr(transformers, config)(**settings))
        return Outputs(made, names, outputs)

    return make


def _cached() -> nn.Module:
    import transformers

    config = transformers.LlamaConfig(**{**_SMALL, "num_hidden_layers": 2}, num_key_value_heads=1)
    return Step(transformers.LlamaForCausalLM(config), 2)


_TEXT = (lambda batch, length: (_ids(batch, length),), ((0, 1),))

FAMILIES: dict[str, Family] = {
    "decoder with a cache (llama)": Family(
        _cached,
        lambda batch, length: (_ids(batch, 3), *(torch.randn(batch, 1, length, 8) for _ in range(4))),
        ((0, 1), *[(0, 2)] * 4),
    ),
    "decoder (gpt2)": Family(
        _model(
            "GPT2Config", "GPT2LMHeadModel", ("input_ids",), ("logits",),
            n_embd=16, n_layer=1, n_head=2, vocab_size=96, n_positions=32, attn_implementation="eager",
            use_cache=False, bos_token_id=1, eos_token_id=2,
        ),
        *_TEXT,
    ),
    "encoder (bert)": Family(_text("BertConfig", "BertModel", ("last_hidden_state", "pooler_output")), *_TEXT),
    "encoder and decoder (t5)": Family(
        _model(
            "T5Config", "T5ForConditionalGeneration", ("input_ids", "decoder_input_ids"), ("logits",),
            d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=96, use_cache=False,
        ),
        lambda batch, length: (_ids(batch, length), _ids(batch, 4)),
        ((0, 1), (0,)),
    ),
    "mixture of experts (mixtral)": Family(
        _text(
            "MixtralConfig", "MixtralForCausalLM", ("logits",), num_key_value_heads=1, num_local_experts=4,
            num_experts_per_tok=2, use_cache=False, experts_implementation="batched_mm",
        ),
        *_TEXT,
    ),
    "vision (vit)": Family(
        _model(
            "ViTConfig", "ViTModel", ("pixel_values",), ("last_hidden_state",),
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16,
            patch_size=8, attn_implementation="eager",
        ),
        lambda batch, length: (torch.randn(batch, 3, 16, 16),),
        ((0,),),
    ),
    "vision (resnet)": Family(
        _model(
            "ResNetConfig", "ResNetModel", ("pixel_values",), ("last_hidden_state",),
            embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic",
        ),
        lambda batch, length: (torch.randn(batch, 3, 32, 32),),
        ((0,),),
    ),
    "speech (whisper)": Family(
        _model(
            "WhisperConfig", "WhisperForConditionalGeneration", ("input_features", "decoder_input_ids"),
            ("logits",), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=96,
            num_mel_bins=8, max_source_positions=20, max_target_positions=32, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, attn_implementation="eager",
            use_cache=False, suppress_tokens=None, begin_suppress_tokens=None,
        ),
        lambda batch, length: (torch.randn(batch, 8, 40), _ids(batch, length)),
        ((0,), (0, 1)),
    ),
    "text and images (clip)": Family(
        _model(
            "CLIPConfig", "CLIPModel", ("input_ids", "pixel_values"), ("logits_per_image",),
            text_config={**_SMALL, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 95},
            projection_dim=8,
            vision_config={
                "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                "image_size": 16, "patch_size": 8,
            },
            attn_implementation="eager",
        ),
        lambda batch, length: (_ids(batch, length), torch.randn(batch, 3, 16, 16)),
        ((0, 1), (0,)),
    ),
    "state space (mamba)": Family(
        _model(
            "MambaConfig", "MambaForCausalLM", ("input_ids",), ("logits",), hidden_size=8, state_size=4,
            num_hidden_layers=1, vocab_size=96, use_cache=False,
        ),
        lambda batch, length: (_ids(batch, 5),),  # its scan is unrolled over the length
        ((0,),),
    ),
}  # fmt: skip
