"""BERT with a classifier of one output, which reads a query and a text together, in plain torch.

Architecture: Devlin et al. 2018, "sentence pair classification". The parameter names are those of the published
checkpoints (``BertForSequenceClassification``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.embedders.bert import Bert, Weights

if TYPE_CHECKING:
    import torch


class PairBert(Bert):
    """An encoder and its head: (batch, length) ids and token types, (batch,) lengths -> (batch,) logits, float32."""

    def take_head(self, take: Weights) -> None:
        self.second = self.types[-1] - self.types[0]  # `positions` includes type 0; this turns it into the text's type
        self.pooler = take.layer("pooler.dense")
        self.classifier = take.layer("classifier")

    def logits(self, ids: torch.Tensor, kinds: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn.functional import embedding, linear

        embedded = embedding(ids, self.words) + self.positions[: ids.shape[1]] + kinds.unsqueeze(2) * self.second
        states, _, hole = self.begun(embedded, lengths)
        for layer in self.layers[:-1]:
            states = self.through(layer, states, hole)
        first = self._first_through(self.layers[-1], states, hole)
        return linear(torch.tanh(linear(first[:, 0], *self.pooler)), *self.classifier)[:, 0]

    def _first_through(self, layer: dict[str, Any], states: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        """Run the last layer for the first token alone, (batch, 1, d): the other tokens are not used after it."""
        from torch.nn.functional import linear, scaled_dot_product_attention

        batch, length, width = states.shape
        weight, bias = layer["attention"]
        wide = states.to(self.dtype)
        query = linear(wide[:, :1], weight[:width], bias[:width]).view(batch, 1, self.heads, -1).transpose(1, 2)
        joint = linear(wide, weight[width:], bias[width:])
        key, value = joint.view(batch, length, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=hole)
        return self.mixed_in(layer, states[:, :1], mixed.transpose(1, 2).reshape(batch, 1, width))
