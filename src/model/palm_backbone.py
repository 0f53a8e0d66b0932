"""MediaPipe's palm detector (palms.py) as a backbone, registered with timm as `palm_detection_full`: its maps
at strides 8, 16 and 32, of which the finer two have the coarser ones folded in.

Its pretrained weights come with the package: `weights: timm` reads them from there. What it says itself, by
its anchors' scores and coordinates, is left out.
"""

from collections.abc import Sequence

from jaxtyping import Float
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from tempohand.model.landmark_backbone import timm_settings
from tempohand.model.palms import FULL_WEIGHTS, SIZE, STAGES, PalmDetector

default_cfgs = generate_default_cfgs(  # timm looks for this name
    {"palm_detection_full": timm_settings(SIZE, file=str(FULL_WEIGHTS))}
)


class PalmBackbone(PalmDetector):
    """As timm's networks, of pictures (0..1) whose edges are multiples of 32 px."""

    output_fmt = "NCHW"

    def __init__(self, num_classes: int = 0, **_):
        super().__init__()
        self.num_classes = num_classes
        self.feature_info = [
            {"num_chs": channels, "reduction": stride}
            for channels, stride in zip((STAGES[2], STAGES[3], STAGES[4]), (8, 16, 32))
        ]

    def forward_intermediates(
        self, x: Float[Tensor, "n 3 h w"], indices: Sequence[int], **_
    ) -> list[Float[Tensor, "n _ _ _"]]:
        """Some of the maps at strides 8, 16 and 32."""
        maps = self.maps(x)
        return [maps[index] for index in indices]


@register_model
def palm_detection_full(pretrained: bool = False, **kwargs) -> PalmBackbone:
    """timm entry point."""
    return build_model_with_cfg(PalmBackbone, "palm_detection_full", pretrained, **kwargs)
