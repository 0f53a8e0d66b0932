"""Pretrained backbones: made-up files in every layout, read value by value, or refused."""

import argparse
import logging

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from tests_support import compose_config, small_network
from utnet_support import SMALL as UTNET

from tempohand.model.backbone import Backbone, loading_lines
from tempohand.model.registry import build_network

SMALL = {"embed_dim": 16, "num_heads": 2, "depth": 2}
DINOV2, REGISTERS, GIANT = (
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
    "vit_giant_patch14_dinov2",
)
DINOV3, BIASED, GATED = (
    "vit_small_patch16_dinov3",
    "vit_small_patch16_dinov3_qkvb",
    "vit_small_plus_patch16_dinov3",
)
PLAIN = "vit_small_patch16_224"
SIZES = {
    name: 56 if "patch14" in name else 64 for name in (DINOV2, REGISTERS, GIANT, DINOV3, BIASED, GATED, PLAIN)
}


def backbone(name, weights=None, **options):
    small = SMALL | ({"mlp_ratio": 4} if name == GIANT else {})
    return Backbone(name, SIZES[name], None if weights is None else str(weights), small | options)


def made_up(name, **options) -> dict:
    """Random values for every weight of a backbone, by timm's names."""
    generator = torch.Generator().manual_seed(1)
    return {
        key: torch.randn(value.shape, generator=generator)
        for key, value in backbone(name, **options).net.state_dict().items()
    }


def at_518_px(weights) -> tuple[dict, dict]:
    """The same with a position embedding for 37 x 37 patches, and what is to come of it: bicubic,
    antialiased, the class's as it is."""
    large = torch.randn(1, 37 * 37, 16, generator=torch.Generator().manual_seed(2))
    small = (
        F.interpolate(large.mT.unflatten(2, (37, 37)), (4, 4), mode="bicubic", antialias=True).flatten(2).mT
    )
    head = weights["pos_embed"][:, :-16]
    return weights | {"pos_embed": torch.cat([head, large], 1)}, weights | {
        "pos_embed": torch.cat([head, small], 1)
    }


def original_dinov2(weights) -> dict:
    """facebookresearch/dinov2: a mask token, registers and class both with a place of their own, SwiGLU as
    w12 and w3."""
    theirs = {name: value for name, value in weights.items() if name not in ("reg_token",)} | {
        "mask_token": torch.randn(1, 16)
    }
    if "reg_token" in weights:
        place = torch.randn(1, 1, 16)
        theirs |= {"register_tokens": weights["reg_token"], "cls_token": weights["cls_token"] - place}
        theirs["pos_embed"] = torch.cat([place, weights["pos_embed"]], 1)
    if weights["blocks.0.mlp.fc1.weight"].shape[0] != weights["blocks.0.mlp.fc2.weight"].shape[1]:
        theirs = {
            name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): value
            for name, value in theirs.items()
        }
    return theirs


def original_dinov3(weights) -> dict:
    """facebookresearch/dinov3: storage tokens, ls1.gamma, one bias for queries, keys (masked) and values, w1,
    w2, w3, rope periods."""
    theirs = {"mask_token": torch.randn(1, 16), "rope_embed.periods": torch.randn(2)}
    for name, value in weights.items():
        if name.endswith(("q_bias", "v_bias")):
            continue
        name = (
            name.replace("reg_token", "storage_tokens")
            .replace("gamma_1", "ls1.gamma")
            .replace("gamma_2", "ls2.gamma")
        )
        theirs[
            name.replace("fc1_g", "w1")
            .replace("fc1_x", "w2")
            .replace("fc2", "w3" if "fc1_g" in str(weights.keys()) else "fc2")
        ] = value
    for block in range(2):
        zero = torch.zeros(16)
        bias = [weights.get(f"blocks.{block}.attn.{letter}_bias", zero) for letter in "qv"]
        theirs[f"blocks.{block}.attn.qkv.bias"] = torch.cat([bias[0], zero, bias[1]])
        theirs[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(48)
    return theirs


def apart(theirs, queries: str, keys: str, values: str) -> dict:
    """Queries, keys and values as three."""
    split = {}
    for name, value in theirs.items():
        if ".attn.qkv." in name:
            split |= {
                name.replace("attn.qkv", part): piece
                for part, piece in zip((queries, keys, values), value.chunk(3))
            }
        else:
            split[name] = value
    return split


def renamed(theirs, *pairs) -> dict:
    for old, new in pairs:
        theirs = {name.replace(old, new): value for name, value in theirs.items()}
    return theirs


EMBEDDINGS = [(token, f"embeddings.{token}") for token in ("cls_token", "mask_token", "register_tokens")]


def transformers_dinov2(weights) -> dict:
    """Dinov2Model, Dinov2WithRegistersModel."""
    theirs = apart(
        original_dinov2(weights), *(f"attention.attention.{part}" for part in ("query", "key", "value"))
    )
    theirs = renamed(
        theirs,
        *EMBEDDINGS,
        ("pos_embed", "embeddings.position_embeddings"),
        ("attn.proj", "attention.output.dense"),
    )
    theirs = renamed(
        theirs, ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("blocks.", "encoder.layer.")
    )
    theirs = renamed(theirs, ("ls1.gamma", "layer_scale1.lambda1"), ("ls2.gamma", "layer_scale2.lambda1"))
    theirs = renamed(theirs, ("w12", "weights_in"), ("w3", "weights_out"))
    return {
        name.replace("norm.", "layernorm.") if name.startswith("norm.") else name: value
        for name, value in theirs.items()
    }


def transformers_dinov3(weights) -> dict:
    """DINOv3ViTModel: keys have no bias."""
    theirs = {
        name: value
        for name, value in original_dinov3(weights).items()
        if not name.endswith("bias_mask") and "rope" not in name
    }
    if "blocks.0.attn.q_bias" not in weights:
        theirs = {name: value for name, value in theirs.items() if not name.endswith("qkv.bias")}
    theirs = apart(theirs, *(f"attention.{letter}_proj" for letter in "qkv"))
    theirs = renamed(
        theirs,
        ("storage_tokens", "register_tokens"),
        *EMBEDDINGS,
        ("patch_embed.proj", "embeddings.patch_embeddings"),
    )
    theirs = renamed(
        theirs,
        ("attn.proj", "attention.o_proj"),
        ("blocks.", "layer."),
        ("ls1.gamma", "layer_scale1.lambda1"),
    )
    theirs = renamed(
        theirs,
        ("ls2.gamma", "layer_scale2.lambda1"),
        ("w1", "gate_proj"),
        ("w2", "up_proj"),
        ("w3", "down_proj"),
    )
    theirs = renamed(theirs, ("fc1", "up_proj"), ("fc2", "down_proj"))
    return {name: value for name, value in theirs.items() if not name.endswith("k_proj.bias")}


def transformers_vit(weights) -> dict:
    """ViTForImageClassification."""
    theirs = apart(weights, *(f"attention.attention.{part}" for part in ("query", "key", "value")))
    theirs = renamed(
        theirs,
        *EMBEDDINGS,
        ("pos_embed", "embeddings.position_embeddings"),
        ("attn.proj", "attention.output.dense"),
    )
    theirs = renamed(
        theirs, ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("blocks.", "encoder.layer.")
    )
    theirs = renamed(
        theirs, ("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("mlp.fc1", "intermediate.dense")
    )
    theirs = renamed(theirs, ("mlp.fc2", "output.dense"))
    theirs = {
        name.replace("norm.", "layernorm.") if name.startswith("norm.") else name: value
        for name, value in theirs.items()
    }
    theirs = {f"vit.{name}": value for name, value in theirs.items()}
    return theirs | {"classifier.weight": torch.randn(10, 16), "vit.pooler.dense.weight": torch.randn(16, 16)}


def timm_names(weights) -> dict:
    return weights | {"head.weight": torch.randn(10, 16), "head.bias": torch.randn(10)}


LAYOUTS = {
    "timm": (timm_names, [DINOV2, REGISTERS, GIANT, DINOV3, BIASED, GATED, PLAIN]),
    "original dinov2": (original_dinov2, [DINOV2, REGISTERS, GIANT]),
    "original dinov3": (original_dinov3, [DINOV3, BIASED, GATED]),
    "transformers dinov2": (transformers_dinov2, [DINOV2, REGISTERS, GIANT]),
    "transformers dinov3": (transformers_dinov3, [DINOV3, BIASED, GATED]),
    "transformers vit": (transformers_vit, [PLAIN]),
}
CONTAINERS = {
    "bare": lambda theirs: theirs,
    "distributed": lambda theirs: {f"module.{name}": value for name, value in theirs.items()},
    "in a larger network": lambda theirs: (
        {f"encoder.backbone.{name}": v for name, v in theirs.items()} | {"decoder.weight": torch.ones(2)}
    ),
    "training": lambda theirs: {
        "state_dict": {f"model.{name}": value for name, value in theirs.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "lr": 0.1},
        "args": argparse.Namespace(epochs=3),
        "epoch": 3,
    },
    "teacher and student": lambda theirs: {
        "student": {f"backbone.{name}": torch.zeros_like(value) for name, value in theirs.items()},
        "teacher": {f"backbone.{name}": value for name, value in theirs.items()}
        | {"dino_head.mlp.0.weight": torch.ones(2)},
    },
}


def silent(capsys, caplog) -> bool:
    """Nothing was said beside the lines: neither on the terminal nor by timm's own logger."""
    out, err = capsys.readouterr()
    return (
        not out and not err and not [record for record in caplog.records if record.levelno >= logging.WARNING]
    )


def assert_holds(net, wanted):
    found = net.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize(
    "layout, name", [(layout, name) for layout, (_, names) in LAYOUTS.items() for name in names]
)
def test_every_layout_fills_every_weight(tmp_path, layout, name, capsys, caplog):
    weights = made_up(name)
    given, wanted = at_518_px(weights) if name in (DINOV2, REGISTERS) else (weights, weights)
    torch.save(LAYOUTS[layout][0](given), tmp_path / "weights.pth")
    made = backbone(name, tmp_path / "weights.pth")
    assert_holds(made.net, wanted)
    assert made.lines[0].startswith(
        f"backbone: {len(wanted)} of {len(wanted)} weights from '{tmp_path / 'weights.pth'}'"
    )
    assert silent(capsys, caplog)


@pytest.mark.parametrize(
    "layout, name", [("timm", DINOV2), ("original dinov3", BIASED), ("transformers dinov2", REGISTERS)]
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_prefixes_and_nested_dictionaries_are_seen_through(tmp_path, layout, name, container):
    weights = made_up(name)
    torch.save(CONTAINERS[container](LAYOUTS[layout][0](weights)), tmp_path / "weights.pth")
    assert_holds(backbone(name, tmp_path / "weights.pth").net, weights)


def test_a_folder_of_transformers_is_one_of_its_file(tmp_path):
    weights = made_up(DINOV2)
    safetensors.torch.save_file(
        {n: v.contiguous() for n, v in transformers_dinov2(weights).items()}, tmp_path / "model.safetensors"
    )
    assert_holds(backbone(DINOV2, tmp_path).net, weights)


@pytest.mark.parametrize(
    "name, size", [("convnext_atto", 64), ("mobilenetv3_small_050", 64), ("test_vit", 160)]
)
def test_other_networks_take_their_own_weights(tmp_path, name, size):
    """With a classifier in the file, and whatever comes after the features in it or not."""
    torch.manual_seed(3)
    donor = timm.create_model(name)
    torch.save({"model": donor.state_dict()}, tmp_path / "all.pth")
    torch.save(
        {
            n: v
            for n, v in donor.state_dict().items()
            if not n.startswith(("classifier", "head", "conv_head"))
        },
        tmp_path / "part.pth",
    )
    for file in ("all.pth", "part.pth"):
        net = Backbone(name, size, str(tmp_path / file)).net
        same = [
            torch.equal(value, donor.state_dict()[key])
            for key, value in net.state_dict().items()
            if not key.startswith("conv_head")
        ]
        assert same and all(same)


def test_the_original_layout_of_a_convnext_is_read_by_timm(tmp_path):
    """facebookresearch/ConvNeXt, of whose names none is timm's."""
    options = {"depths": (1, 1, 1, 1), "dims": (4, 8, 16, 32)}
    net = Backbone("convnext_atto", 64, options=options).net
    weights = {name: torch.randn(value.shape) for name, value in net.state_dict().items()}
    theirs = renamed(
        weights,
        ("stem.", "downsample_layers.0."),
        ("conv_dw", "dwconv"),
        ("mlp.fc1", "pwconv1"),
        ("mlp.fc2", "pwconv2"),
    )
    theirs = {
        n.replace(".downsample.", ".").replace("stages", "downsample_layers") if ".downsample." in n else n: v
        for n, v in theirs.items()
    }
    theirs = renamed(theirs, (".blocks.", "."))
    torch.save(
        {"model": theirs | {"norm.weight": torch.ones(32), "norm.bias": torch.ones(32)}},
        tmp_path / "weights.pth",
    )
    assert_holds(Backbone("convnext_atto", 64, str(tmp_path / "weights.pth"), options).net, weights)


def without(name):
    return lambda weights: {key: value for key, value in weights.items() if key != name}


REFUSED = {
    "another network": (
        lambda w: timm.create_model("test_resnet").state_dict(),
        "0 of 3[0-9] weights filled; 3[0-9] missing",
    ),
    "a weight is missing": (
        without("blocks.1.norm2.bias"),
        r"3[0-9] of 3[0-9] weights filled; 1 missing \['blocks.1.norm2.bias'\]",
    ),
    "no position embedding": (without("pos_embed"), r"1 missing \['pos_embed'\]"),
    "a deeper network": (
        lambda w: w | {n.replace("blocks.1", "blocks.2"): v for n, v in w.items() if "blocks.1." in n},
        r"0 missing \[\], 14 without a place \['blocks.2.attn.qkv.bias'",
    ),
    "a wider network": (
        lambda w: w | {"norm.weight": torch.ones(32)},
        r"1 of another shape \['norm.weight \(32,\) for \(16,\)'\]",
    ),
    "other patches": (
        lambda w: w | {"patch_embed.proj.weight": torch.randn(16, 3, 16, 16)},
        r"of another shape \['patch_embed.proj.weight \(16, 3, 16, 16\) for \(16, 3, 14, 14\)'\]",
    ),
    "no raster of positions": (
        lambda w: w | {"pos_embed": torch.randn(1, 12, 16)},
        "does not fit the backbone",
    ),
    "registers without a place": (
        lambda w: w | {"reg_token": torch.randn(1, 4, 16)},
        r"1 without a place \['reg_token'\]",
    ),
    "two copies": (
        lambda w: {"first": w, "second": w},
        r"holds several networks, under \['first.', 'second.'\]",
    ),
    "no tensors": (lambda w: {"epoch": 3}, "holds no named tensors"),
    "no dictionary": (lambda w: torch.ones(3), "holds no named tensors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fill_the_backbone_is_refused(tmp_path, what, capsys, caplog):
    change, message = REFUSED[what]
    torch.save(change(made_up(DINOV2)), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message) as error:
        backbone(DINOV2, tmp_path / "weights.pth")
    assert str(tmp_path / "weights.pth") in str(error.value) and "\n" not in str(error.value)
    assert silent(capsys, caplog)


def test_biases_that_are_not_zero_are_not_dropped(tmp_path):
    torch.save(original_dinov3(made_up(BIASED)), tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"2 without a place \['blocks.0.attn.qkv.bias', 'blocks.1.attn.qkv.bias'\]"
    ):
        backbone(DINOV3, tmp_path / "weights.pth")


def test_a_refusal_leaves_nothing_changed(tmp_path):
    from tempohand.model.pretrained import fill

    made = backbone(DINOV2)
    before = {name: value.clone() for name, value in made.net.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit"):
        fill(made.net, without("norm.bias")(made_up(DINOV2)), "here")
    assert_holds(made.net, before)


@pytest.fixture
def downloads(monkeypatch):
    """Stands in for timm's downloads: the weights to be had, by a network's architecture."""
    shelf = {}

    def load(model, pretrained_cfg=None, **settings):
        if pretrained_cfg["architecture"] not in shelf:
            raise RuntimeError("No pretrained weights exist for this model.")
        return real(
            model, pretrained_cfg | {"state_dict": dict(shelf[pretrained_cfg["architecture"]])}, **settings
        )

    import timm.models._builder as builder

    real = builder.load_pretrained
    monkeypatch.setattr(builder, "load_pretrained", load)
    return shelf


def test_timms_own_weights_are_all_taken_or_none(downloads, capsys, caplog):
    given, wanted = at_518_px(made_up(DINOV2))
    downloads[DINOV2] = original_dinov2(given)
    downloads["convnext_atto"] = timm.create_model("convnext_atto").state_dict()
    made = backbone(DINOV2, "timm")
    assert_holds(made.net, wanted)
    assert made.lines == [f"backbone: {len(wanted)} of {len(wanted)} weights from 'timm'"]
    net = Backbone("convnext_atto", 64, "timm").net
    assert_holds(net, {name: downloads["convnext_atto"][name] for name in net.state_dict()})
    for depth in (1, 3):  # as many blocks as timm has weights for: neither fewer nor more
        with pytest.raises(
            ValueError, match=f"timm has none that fit '{DINOV2}' with options .*'depth': {depth}"
        ):
            backbone(DINOV2, "timm", depth=depth)
    with pytest.raises(ValueError, match="timm has none that fit 'tempohand_tiny'"):
        Backbone("tempohand_tiny", 64, "timm")
    assert silent(capsys, caplog)


def test_a_licence_that_is_not_open_is_named():
    network = small_network(1)
    network["spatial"]["backbone"] = {"name": DINOV3, "weights": None, "options": SMALL}
    (line,) = loading_lines(build_network(network))
    assert DINOV3 in line and "DINOv3 License" in line and "https://" in line
    for name in (
        compose_config(f"stage1-dino_{size}")["network"]["spatial"]["backbone"]["name"]
        for size in ("small", "base", "large")
    ):
        assert timm.get_pretrained_cfg(name).license == "apache-2.0"
    network["spatial"]["backbone"]["name"] = DINOV2
    assert not list(loading_lines(build_network(network | {"size": 56})))


@pytest.mark.parametrize(
    "layout, container",
    [("timm", "teacher and student"), ("transformers vit", "bare"), ("transformers dinov2", "training")],
)
def test_utnets_transformer_takes_every_layout(tmp_path, layout, container):
    """Which has no class token: the token and its position are left out, all else is as in the file."""
    shape = UTNET["trunk"]["options"] | {"embed_dim": 16, "depth": 2}
    donor = timm.create_model("vit_tiny_patch16_224", img_size=(64, 48), num_classes=0, **shape)
    generator = torch.Generator().manual_seed(4)
    weights = {key: torch.randn(v.shape, generator=generator) for key, v in donor.state_dict().items()}
    torch.save(CONTAINERS[container](LAYOUTS[layout][0](weights)), tmp_path / "weights.pth")
    settings = UTNET["trunk"] | {"options": shape, "weights": str(tmp_path / "weights.pth")}
    net = build_network(UTNET | {"trunk": settings}).backbone.net
    wanted = {name: value for name, value in weights.items() if name != "cls_token"}
    assert_holds(net, wanted | {"pos_embed": weights["pos_embed"][:, 1:]})
