"""How much an optimizer step changes the weights: a healthy rate is some 1e-3 of them a step, and 0 is a part
that does not learn."""

import torch
from torch import Tensor, nn

from tempohand.training.optim import of_backbone


class UpdateRatio:
    """Norm of an optimizer step's change over the norm of the weights before it, for the backbone, the
    temporal encoder and the rest.

    `before` keeps a copy of every trainable parameter until `after`: use it at the steps that are logged.
    """

    def __init__(self, network: nn.Module):
        self.parts: dict[str, list[nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                part = (
                    "backbone"
                    if of_backbone(name)
                    else "temporal"
                    if name.startswith("temporal.")
                    else "rest"
                )
                self.parts.setdefault(part, []).append(parameter)
        self.copies: dict[str, list[Tensor]] = {}

    def before(self) -> None:
        """Notes the weights as they are."""
        self.copies = {
            part: [parameter.detach().clone() for parameter in parameters]
            for part, parameters in self.parts.items()
        }

    @torch.no_grad()
    def after(self) -> dict[str, Tensor]:
        """update/<part> since `before`."""
        ratios = {}
        for part, parameters in self.parts.items():
            change = list(
                torch._foreach_sub([parameter.detach() for parameter in parameters], self.copies[part])
            )
            ratios[f"update/{part}"] = _norm(change) / _norm(self.copies[part])
        self.copies = {}
        return ratios


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors)).norm()
