"""Training a network from its frozen part's features."""

from torch import nn

from tempohand.batch import ClipBatch, HandPrediction


class FromFeatures(nn.Module):
    """A network whose forward starts at `batch.features` (data/tokens.py) in place of pictures:
    network.decode(features, batch)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: ClipBatch) -> HandPrediction:
        """The network's prediction."""
        return self.network.decode(batch.features, batch)
