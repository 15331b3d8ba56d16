"""The sentence classifier of Kim (2014): filters over 3, 4 and 5 words side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cnnkern.models.initialise import initialise
from cnnkern.models.model import Layers, Model, default_layers

PADDING = 0  # the token that fills short texts up; its embedding is and stays zero


class TextCNN(Model):
    """(N, length) int64 tokens to (N, num_classes) logits.

    A token is the number of a word, or of a character, in a vocabulary; 0 is padding. Each becomes
    a row of an embedding, so a text is an image of ``length`` pixels with as many channels as the
    embedding is wide. A filter of width w sees w tokens at once and answers wherever its n-gram
    stands; the maximum over all places ("max over time") forgets where.

    ``small`` is for 64 characters: widths 3, 5 and 7, 64 filters of each instead of 100, and an
    embedding of 32 numbers instead of 300.

    Args:
        num_classes: logits a text.
        vocabulary: number of tokens, padding included; by default 20,000 words, or 256 bytes.
        small, layers: as for every network.

    >>> net = TextCNN(num_classes=4, small=True)
    >>> net(torch.tensor([list(b"convolution")])).shape
    torch.Size([1, 4])
    """

    task = "text classification"

    def __init__(
        self,
        num_classes: int = 2,
        vocabulary: int | None = None,
        small: bool = False,
        layers: Layers | None = None,
    ) -> None:
        super().__init__()
        layers = layers or default_layers()
        self.input_shape = (64,)
        size, width, filters = (256, 32, 64) if small else (20_000, 300, 100)
        self.widths = (3, 5, 7) if small else (3, 4, 5)
        self.embedding = nn.Embedding(vocabulary or size, width, padding_idx=PADDING)
        self.convs = nn.ModuleList(layers.Conv1d(width, filters, w) for w in self.widths)
        self.pool = layers.AdaptiveMaxPool1d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(filters * len(self.widths), num_classes)
        initialise(self, "he")

    def example(self, batch: int = 1) -> Tensor:
        return self.embedding.weight.new_zeros((batch, *self.input_shape), dtype=torch.int64)

    def feature_maps(self, tokens: Tensor) -> list[Tensor]:
        """For each width w, how strongly each filter answers at each place: (N, filters, length).

        Padding at both ends lets a filter begin before the text and end after it, so that a text
        may be shorter than the filter.
        """
        x = self.embedding(tokens).transpose(1, 2)
        return [
            torch.relu(conv(nn.functional.pad(x, (w // 2, (w - 1) // 2))))
            for w, conv in zip(self.widths, self.convs)
        ]

    def forward(self, tokens: Tensor) -> Tensor:
        strongest = [self.pool(maps).flatten(1) for maps in self.feature_maps(tokens)]
        logits: Tensor = self.fc(self.dropout(torch.cat(strongest, 1)))
        return logits
