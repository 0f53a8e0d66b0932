"""The average of the weights over training, which is what is evaluated and saved."""

import torch
from timm.utils import ModelEmaV3
from torch import nn


class WeightAverage(ModelEmaV3):
    """timm's exponential average, of what is learned alone: frozen weights cost nothing and stay exactly what
    they are."""

    @classmethod
    def of(cls, network: nn.Module, decay: float | None, device: torch.device) -> "WeightAverage | None":
        """The average whose memory grows to `decay` while a run is young; None where there is no decay."""
        return cls(network, decay=decay, use_warmup=True, warmup_power=0.8, device=device) if decay else None

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        """Moves the averages of trainable weights and of buffers that training changes."""
        own = self.module.state_dict()
        new = model.state_dict()
        learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        for path, module in model.named_modules():
            if module.training:
                names = (
                    f"{path}.{name}" if path else name for name, _ in module.named_buffers(recurse=False)
                )
                learned += [name for name in names if name in own]
        moving = [name for name in learned if own[name].is_floating_point()]
        torch._foreach_lerp_(
            [own[name] for name in moving], [new[name] for name in moving], weight=1.0 - decay
        )
        for name in set(learned) - set(moving):
            own[name].copy_(new[name])
