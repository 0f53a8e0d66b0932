"""Hand3D's encoder: a timm network from a crop, and where its joints are seen beside it, to one vector."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tempohand.model.backbone import Backbone
from tempohand.skeleton import NUM_JOINTS


class PooledEncoder(Backbone):
    """timm network `name` for square crops of `size` px; its last map is averaged over all of its cells.

    weights: path of a file, "timm", or None, as Backbone takes them. Pictures enter in [0, 1], as the network
    of 2019 was trained, and not normalised by ImageNet's statistics. joint_maps: heat maps of the 21 joints
    enter beside the picture, through a stem of their own (`TwoStems`). Raises what Backbone raises.
    """

    def __init__(
        self,
        name: str,
        size: int,
        weights: str | None = None,
        options: dict | None = None,
        *,
        joint_maps: bool = False,
    ):
        super().__init__(name, size, weights, options)
        self.mean.zero_()
        self.std.fill_(1.0)
        self.joint_maps = joint_maps
        if joint_maps:
            first = self.net.pretrained_cfg.get("first_conv")
            if not isinstance(first, str):
                raise ValueError(f"network.joint_maps: '{name}' has no single first convolution to add to")
            self.net.set_submodule(first, TwoStems(self.net.get_submodule(first)))

    def forward(
        self, image: UInt8[Tensor, "n 3 h w"], maps: Float[Tensor, "n 21 h w"] | None = None
    ) -> Float[Tensor, "n c"]:
        """The crop as one vector. maps: of a network with `joint_maps`."""
        x = self._normalised(image)
        if self.joint_maps:
            assert maps is not None, "a network with `joint_maps` is given some"
            x = torch.cat([x, maps], dim=1)
        return self._tokens(self._read(x)).mean(dim=1)


class TwoStems(nn.Conv2d):
    """A first convolution of 3 channels as one of 24, RGB and 21 joints: it keeps its weights and their
    names, and what a second one makes of the joints, at first nothing, is added. A picture without joints
    (maps of zeros) is as before."""

    def __init__(self, rgb: nn.Conv2d):
        shape = {name: getattr(rgb, name) for name in ("kernel_size", "stride", "padding", "dilation")}
        super().__init__(rgb.in_channels, rgb.out_channels, **shape, bias=rgb.bias is not None)
        self.weight, self.bias = rgb.weight, rgb.bias
        self.joints = nn.Conv2d(NUM_JOINTS, rgb.out_channels, **shape, bias=False)
        nn.init.zeros_(self.joints.weight)

    def forward(self, x: Float[Tensor, "n 24 h w"]) -> Float[Tensor, "n c _ _"]:
        """Of RGB and joints."""
        return super().forward(x[:, :-NUM_JOINTS]) + self.joints(x[:, -NUM_JOINTS:])
