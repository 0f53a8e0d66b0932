"""A network of each family of timm's: built, its raster checked, and stepped; without pretrained weights,
which no test downloads."""

import pytest
import timm
import torch
from tests_support import random_batch, small_network

from tempohand.model.backbone import Backbone
from tempohand.model.finder import STRIDES, FinderNet
from tempohand.model.registry import build_network

# The smallest of each family, and the size of its crops. `test_` networks are timm's own miniatures.
FAMILIES = {
    "test_vit": 64,
    "vit_tiny_patch16_dinov3_qkvb": 64,
    "deit_tiny_distilled_patch16_224": 64,
    "efficientvit_b0": 128,
    "efficientvit_m1": 128,
    "fastvit_t8": 128,
    "tiny_vit_5m_224": 128,
    "swin_tiny_patch4_window7_224": 64,
    "swinv2_cr_tiny_224": 64,
    "test_mambaout": 64,
    "convnext_atto": 64,
    "mobilenetv3_small_050": 128,
    "test_efficientnet": 64,
    "test_resnet": 64,
    "mobilevit_xxs": 128,
    "hiera_tiny_224": 64,
    "test_coatnet": 128,
    "pit_ti_224": 128,
    "xcit_nano_12_p8_224": 64,
    "mixer_s32_224": 64,
    "crossvit_tiny_240": 240,
}
# Those whose default is many blocks deep, made shallow: what is looked at here is the same in every block.
OPTIONS = {
    "vit_tiny_patch16_dinov3_qkvb": {"depth": 1},
    "deit_tiny_distilled_patch16_224": {"depth": 1},
    "tiny_vit_5m_224": {"depths": (1, 1, 1, 1)},
    "swin_tiny_patch4_window7_224": {
        "depths": (1, 1),
        "embed_dim": 24,
        "num_heads": (2, 4),
        "window_size": 4,
    },
    "swinv2_cr_tiny_224": {"depths": (1, 1), "embed_dim": 24, "num_heads": (2, 4), "window_size": 4},
    "hiera_tiny_224": {"stages": (1, 1, 1, 1), "embed_dim": 24, "num_heads": 1},
    "xcit_nano_12_p8_224": {"depth": 1, "embed_dim": 32},
    "crossvit_tiny_240": {"depth": ((1, 1, 0),)},
}
# With random weights their attention is over the whole picture alike: of these only timm's own feature map
# tells the raster.
EVERYWHERE = ("tiny_vit_5m_224", "test_coatnet")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """A backbone with random weights, in evaluation mode."""
    torch.manual_seed(0)
    made = Backbone(request.param, FAMILIES[request.param], options=OPTIONS.get(request.param)).eval()
    made.name = request.param
    return made


@pytest.mark.parametrize("family", EVERYWHERE, indirect=True)
def test_tokens_are_timms_own_feature_map(family):
    x = torch.rand(2, 3, family.size, family.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        last = family.net.forward_intermediates(
            x, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )[-1]
        torch.testing.assert_close(
            family._tokens(family._read(x)).mT.unflatten(2, (family.grid, family.grid)), last
        )


def test_tokens_are_a_raster_row_by_row(family, monkeypatch):
    """A token looks at the picture around its own place, with random weights too: where the pixels lie that
    move it, on average over what it says, is further right for tokens further right, and lower for lower
    ones."""
    size, grid, generator = family.size, family.grid, torch.Generator().manual_seed(1)
    assert grid >= 2, "one token has no place"
    corners = [(0, 0), (0, grid - 1), (grid - 1, 0), (grid - 1, grid - 1)]
    x = (torch.rand(1, 3, size, size, generator=generator) * 2 - 1).repeat(4, 1, 1, 1).requires_grad_()
    tokens = family._tokens(family._read(x))
    assert tokens.shape == (4, grid * grid, family.dim)
    if family.name in EVERYWHERE:
        return
    said = tokens[torch.arange(4), [row * grid + column for row, column in corners]] @ torch.randn(
        family.dim, generator=generator
    )
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    (moves,) = torch.autograd.grad(said.sum(), x)
    share, place = moves.square().sum(1), torch.arange(size) / size
    share = share / share.sum((1, 2), keepdim=True)
    centre = {
        corner: torch.stack([part.sum(1) @ place, part.sum(0) @ place])
        for corner, part in zip(corners, share)
    }
    for other in (0, grid - 1):
        assert centre[grid - 1, other][0] > centre[0, other][0] + 0.01, "rows"
        assert centre[other, grid - 1][1] > centre[other, 0][1] + 0.01, "columns"


def test_every_trained_weight_has_a_gradient(family, monkeypatch):
    """One without stops distributed training; at least nine of ten weights are trained."""
    torch.manual_seed(0)
    image = torch.randint(0, 256, (2, 3, family.size, family.size), dtype=torch.uint8)
    trained = {name: parameter for name, parameter in family.named_parameters() if parameter.requires_grad}
    family.train()
    monkeypatch.setattr(
        torch.backends.mkldnn, "enabled", False
    )  # it crashes: tests_support.SMALL_NETWORK has the reason
    family(image).square().mean().backward()
    family.eval()
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    assert all(parameter.grad is None for parameter in family.parameters() if not parameter.requires_grad)
    family.zero_grad()


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "swin_tiny_patch4_window7_224", "pit_ti_224"])
def test_posenet_takes_a_step_with_it(name):
    settings = small_network(1)
    settings["spatial"]["backbone"] = {"name": name, "weights": None, "options": OPTIONS.get(name, {})}
    net, batch = build_network(settings).train(), random_batch(2, 1)
    sum(term.value.mean() for term in net.criterion(net(batch), batch).values()).backward()
    assert [
        name
        for name, parameter in net.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ] == []


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "convnext_atto", "test_resnet"])
def test_the_hand_finder_takes_a_step_with_it(name):
    """What follows the finest and the coarsest of its maps, and a classifier's last layers, have no part in
    it."""
    torch.manual_seed(0)
    net = FinderNet(num_frame=1, size=64, expansion=4.0, backbone={"name": name}, width=16)
    said = net(random_batch(2, 1))
    (
        said.logits.mean() + said.box.square().mean() + sum(value.mean() for value in said.terms.values())
    ).backward()
    assert [
        name
        for name, parameter in net.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ] == []
    maps = net.backbone.pyramid(random_batch(1, 1).frames.image)
    assert [64 // features.shape[-1] for features in maps] == list(STRIDES)
    assert [features.shape[1] for features in maps] == net.backbone.channels


def test_the_names_of_weights_are_those_of_before():
    """Checkpoints name them: a head that features do not pass through has gone, whatever else timm built has
    stayed."""
    kept = {name for name in Backbone("mobilenetv3_small_050", 64).state_dict() if "head" in name}
    assert kept == {"net.conv_head.weight", "net.conv_head.bias"}
    gone = Backbone("convnext_atto", 64).state_dict()
    assert not [name for name in gone if "head" in name]
    whole = timm.create_model("convnext_atto", num_classes=0).state_dict()
    assert {name.removeprefix("net.") for name in gone} == {
        name for name in whole if not name.startswith("head.")
    }


@pytest.mark.parametrize(
    "name, size, options, message",
    [
        (
            "test_vit",
            64,
            {"colour": 1},
            "timm cannot build 'test_vit' for 64 px crops with options .*'colour'",
        ),
        ("no_such_network", 64, {}, "has no network 'no_such_network'"),
        ("coatnet_nano_cc_224", 100, {}, "'coatnet_nano_cc_224'.* 100 px crops"),
        ("test_vit.no_such_weights", 64, {}, "no_such_weights"),
    ],
)
def test_what_timm_cannot_build_is_told_in_a_line(name, size, options, message):
    with pytest.raises(ValueError, match=message) as error:
        Backbone(name, size, options=options)
    assert "\n" not in str(error.value)
