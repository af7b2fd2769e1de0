"""A decoder like GPT-2 in plain torch, and its capture as one graph."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

VOCABULARY = 50257
POSITIONS = 1024


class Block(nn.Module):
    """Attention and a feed-forward network, each with a norm before and a residual around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, width) to the same shape."""
        batch, length, width = x.shape
        heads = self.qkv(self.norm_1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind()
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.mix(mixed.transpose(1, 2).reshape(batch, length, width))
        fed: Tensor = self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))
        return x + fed


class Decoder(nn.Module):
    """Tokens to logits, with the token embedding as output projection; 12 layers of 768 are GPT-2 small."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(POSITIONS, width)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 64)) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids (batch, length) to logits (batch, length, vocabulary)."""
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.size(1)))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Logits(nn.Module):
    """A model of transformers that returns its logits and nothing else."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids (batch, length) to logits (batch, length, vocabulary)."""
        logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits
        return logits


def build(layers: int, width: int, *, own: bool) -> tuple[str, nn.Module]:
    """Return what the model is and the model: GPT-2 of transformers where that is installed, else our own.

    With ``own`` it is our own in any case.

    Weights are random, from a fixed seed; nothing is downloaded.
    """
    torch.manual_seed(0)
    if own or find_spec("transformers") is None:
        return "own decoder in plain torch", Decoder(layers, width).eval()
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_layer=layers, n_embd=width, n_head=max(1, width // 64))
    return "transformers.GPT2LMHeadModel, random weights", Logits(GPT2LMHeadModel(config)).eval()


def capture(model: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """Return the model as one flat graph of torch operators, with its weights and with shapes on every node."""
    module: Any = torch.export.export(model, inputs, strict=False).module()
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)  # a check of the inputs that torch.export adds as Python code
    return fx.GraphModule(module, module.graph)
