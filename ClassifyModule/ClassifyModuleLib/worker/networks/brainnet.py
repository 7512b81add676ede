"""The layers of BrainNetCNN on connectivity matrices."""

from __future__ import annotations

import torch
from torch import nn

from ClassifyModuleLib.worker.networks.classifier import Classifier

_LEAK = 0.33


class EdgeToEdge(nn.Module):
    """Each edge (i, j) becomes a weighted sum of the edges of its two regions, row i and column j.

    A filter of 1 x d plus one of d x 1: (B, C, d, d) to (B, maps, d, d).
    """

    def __init__(self, channels: int, maps: int, size: int):
        super().__init__()
        self.row = nn.Conv2d(channels, maps, (1, size))
        self.column = nn.Conv2d(channels, maps, (size, 1), bias=False)

    def forward(self, matrices: torch.Tensor) -> torch.Tensor:
        # As products of matrices: torch's convolutions on CPUs are slow for filters as long as the image.
        rows = torch.einsum("bcij,mcj->bmi", matrices, self.row.weight[:, :, 0])
        columns = torch.einsum("bcij,mci->bmj", matrices, self.column.weight[..., 0])
        assert self.row.bias is not None
        return (rows + self.row.bias[:, None])[..., None] + columns[:, :, None]


class BrainNet(Classifier):
    """Edge-to-edge layers, edge-to-node, node-to-graph and dense layers; (B, 1, d, d) to (B, outputs)."""

    def __init__(
        self, size: int, outputs: int, edges: tuple[int, ...], nodes: int, graph: int, dense: int, dropout: float
    ):
        """
        Args:
            edges: maps of each edge-to-edge layer.
            nodes: maps of the edge-to-node layer.
            graph, dense: units of the node-to-graph and of the dense layer.
        """
        layers: list[nn.Module] = []
        channels = 1
        for maps in edges:
            layers += [EdgeToEdge(channels, maps, size), nn.LeakyReLU(_LEAK)]
            channels = maps
        layers += [nn.Conv2d(channels, nodes, (1, size)), nn.LeakyReLU(_LEAK)]  # edge-to-node: (B, nodes, d, 1)
        layers += [nn.Dropout(dropout), nn.Conv2d(nodes, graph, (size, 1)), nn.Flatten(), nn.LeakyReLU(_LEAK)]
        layers += [nn.Dropout(dropout), nn.Linear(graph, dense), nn.LeakyReLU(_LEAK)]
        super().__init__(nn.Sequential(*layers), dense, outputs, dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=_LEAK)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=0.1 / dense**0.5)


def edge_weights(network: nn.Module, matrix: torch.Tensor, index: int) -> torch.Tensor:
    """The derivative (d, d) of output ``index`` with respect to each edge of a matrix (1, 1, d, d).

    Simonyan et al. 2014, arXiv 1312.6034, as BrainNetCNN's authors use it. Both directions of an edge are averaged
    where the matrix is symmetric.
    """
    with torch.enable_grad():
        given = matrix.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network(given)[0, index], given)
    return gradient[0, 0].detach()
