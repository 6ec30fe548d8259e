"""A plain torch implementation of BERT, for models that need nothing else: it works without transformers and can be
traced into one call.

Architecture: Devlin et al. 2018 (post-norm encoder, learned positions, exact GELU). The parameter names are those of
the published checkpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PluginLoadError

if TYPE_CHECKING:
    import torch


class Bert:
    """An encoder: (batch, length) ids and (batch,) lengths -> hidden states and their mask.

    Linear layers run in ``dtype``; embeddings, norms and residual sums in float32.
    """

    def __init__(self, folder: Path, config: dict[str, Any], *, device: str, dtype: torch.dtype) -> None:
        tensors = _read(folder / "model.safetensors", device)
        tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        self.parameters = sum(t.numel() for t in tensors.values() if t.is_floating_point())
        self.dtype = dtype
        self.heads = config["num_attention_heads"]
        self.epsilon = config.get("layer_norm_eps", 1e-12)
        take = Weights(tensors, dtype)
        types = self.types = take.float32("embeddings.token_type_embeddings.weight")
        self.words = take.float32("embeddings.word_embeddings.weight")
        self.positions = take.float32("embeddings.position_embeddings.weight") + types[0]
        self.norm = take.layer("embeddings.LayerNorm")
        self.layers = [_layer(take, f"encoder.layer.{index}") for index in range(config["num_hidden_layers"])]
        self.take_head(take)

    def take_head(self, take: Weights) -> None:
        """Take the weights of further layers; subclasses override this. Weights that are not taken are freed."""

    def hidden(
        self, ids: torch.Tensor, lengths: torch.Tensor, *, layers: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (batch, length, d) float32 after the first ``layers`` layers (None: all), and a mask (batch,
        length) that is true at real tokens."""
        from torch.nn.functional import embedding

        states, keep, hole = self.begun(embedding(ids, self.words) + self.positions[: ids.shape[1]], lengths)
        for layer in self.layers[:layers]:
            states = self.through(layer, states, hole)
        return states, keep

    def begun(self, embedded: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Prepare the first layer's input from the summed embeddings (batch, length, d).

        Returns the states, the mask of real tokens, and the attention bias that hides the padding.
        """
        import torch
        from torch.nn.functional import layer_norm

        batch, length, width = embedded.shape
        keep = torch.arange(length, device=embedded.device).unsqueeze(0) < lengths.unsqueeze(1)
        hole = torch.zeros(batch, 1, 1, length, dtype=self.dtype, device=embedded.device)
        hole = hole.masked_fill(~keep.unsqueeze(1).unsqueeze(1), float("-inf"))
        return layer_norm(embedded, (width,), *self.norm, self.epsilon), keep, hole

    def through(self, layer: dict[str, Any], states: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import linear, scaled_dot_product_attention

        batch, length, width = states.shape
        joint = linear(states.to(self.dtype), *layer["attention"])
        query, key, value = (
            joint.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=hole)
        return self.mixed_in(layer, states, mixed.transpose(1, 2).reshape(batch, length, width))

    def mixed_in(self, layer: dict[str, Any], states: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The states after a layer whose attention output is ``mixed``; both have the same shape."""
        from torch.nn.functional import gelu, layer_norm, linear

        width = states.shape[-1:]
        mixed = linear(mixed, *layer["mix"])
        states = layer_norm(states + mixed, width, *layer["mix_norm"], eps=self.epsilon)
        wide = gelu(linear(states.to(self.dtype), *layer["widen"]))
        return layer_norm(states + linear(wide, *layer["narrow"]), width, *layer["narrow_norm"], eps=self.epsilon)


def _read(file: Path, device: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file, device=device)
    except SafetensorError as error:
        raise PluginLoadError(f"The weights {file} can't be read: {error}.", "Download the model again.") from None


class Weights:
    """Tensors by name, converted to the types that the forward pass needs."""

    def __init__(self, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
        self._tensors = tensors
        self._dtype = dtype

    def float32(self, name: str) -> torch.Tensor:
        return self._tensors[name].float()

    def layer(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias in float32."""
        return self.float32(f"{name}.weight"), self.float32(f"{name}.bias")

    def linear(self, *names: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of one linear layer, or of several concatenated."""
        import torch

        weight = torch.cat([self._tensors[f"{name}.weight"] for name in names])
        bias = torch.cat([self._tensors[f"{name}.bias"] for name in names])
        return weight.to(self._dtype), bias.to(self._dtype)


def _layer(take: Weights, name: str) -> dict[str, Any]:
    attention = f"{name}.attention"
    return {
        "attention": take.linear(*(f"{attention}.self.{part}" for part in ("query", "key", "value"))),
        "mix": take.linear(f"{attention}.output.dense"),
        "mix_norm": take.layer(f"{attention}.output.LayerNorm"),
        "widen": take.linear(f"{name}.intermediate.dense"),
        "narrow": take.linear(f"{name}.output.dense"),
        "narrow_norm": take.layer(f"{name}.output.LayerNorm"),
    }
