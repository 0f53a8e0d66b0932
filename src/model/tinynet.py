"""The tiny backbone, registered with timm as `tempohand_tiny`: plain 3 x 3 residual stages, which two CPU
cores train fastest.

Depthwise and inverted-bottleneck networks of the same size train at a third of its speed there in bfloat16,
and a plain ViT is starved of samples and of inductive bias (docs/log.md). Transformer layers follow on its 8
x 8 tokens, in the perspective embedding and the decoder.
"""

from collections.abc import Sequence
from typing import Any, cast

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

from tempohand.model.batchnorm import GhostBatchNormAct2d

STEM = 24
# (channels, blocks), each halving the raster after a stem that halves it first
STAGES = ((32, 1), (64, 1), (128, 1), (256, 1))
NORM_GROUP = 24  # images that are normalised together

default_cfgs = generate_default_cfgs(  # timm looks for this name
    {
        "tempohand_tiny": {
            "url": "",
            "input_size": (3, 128, 128),
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "num_classes": 0,
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        }
    }
)


def _config(stem: int, stages: Sequence, norm_group: int) -> ByoModelCfg:
    def norm(channels: int, **options) -> GhostBatchNormAct2d:
        return GhostBatchNormAct2d(channels, group=norm_group, **options)

    blocks = tuple(
        ByoBlockCfg(type="basic", d=depth, c=channels, s=2, gs=0, br=1.0) for channels, depth in stages
    )
    return ByoModelCfg(
        blocks=blocks,
        stem_type="3x3",
        stem_chs=stem,
        stem_pool="",
        num_features=0,
        act_layer="relu",
        norm_layer=cast(Any, norm),  # timm takes functions, too
    )


@register_model
def tempohand_tiny(
    pretrained: bool = False,
    *,
    stem: int = STEM,
    stages: Sequence = STAGES,
    norm_group: int = NORM_GROUP,
    **kwargs,
) -> ByobNet:
    """timm entry point. `stages` are (channels, blocks) pairs, each at half the raster of the one before;
    `norm_group` images share the statistics of batch normalisation."""
    return build_model_with_cfg(
        ByobNet, "tempohand_tiny", pretrained, model_cfg=_config(stem, stages, norm_group), **kwargs
    )
