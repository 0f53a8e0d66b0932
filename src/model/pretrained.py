"""Pretrained weights for a backbone, out of a file in any of the usual layouts: all of them, or none."""

import re
import sys
from collections import Counter
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from tempohand.model.weights import of_network

# Names of Hugging Face transformers (ViT, DINOv2, DINOv3) -> the original repositories', which timm reads.
TRANSFORMERS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
        (r"^(?:encoder\.|model\.)?layer\.(\d+)\.", r"blocks.\1."),
        (r"^layernorm\.", "norm."),
        (r"\.layernorm_before\.", ".norm1."),
        (r"\.layernorm_after\.", ".norm2."),
        (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
        (r"\.attention\.(?:attention\.)?(query|key|value)\.", r".attn.\1."),
        (r"\.attention\.q_proj\.", ".attn.query."),
        (r"\.attention\.k_proj\.", ".attn.key."),
        (r"\.attention\.v_proj\.", ".attn.value."),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.intermediate\.dense\.", ".mlp.fc1."),
        (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"\.mlp\.weights_in\.", ".mlp.w12."),
        (r"\.mlp\.weights_out\.", ".mlp.w3."),
    )
]
GATED = {".mlp.gate_proj.": ".mlp.w1.", ".mlp.up_proj.": ".mlp.w2.", ".mlp.down_proj.": ".mlp.w3."}
PLAIN = {".mlp.up_proj.": ".mlp.fc1.", ".mlp.down_proj.": ".mlp.fc2."}
# What training programs put before a network's own names: taken off where timm has to know the layout by its
# names.
CONTAINER = re.compile(
    r"^(?:(?:state_dict|model|module|network|net|backbone|encoder|teacher|ema|model_ema|state_dict_ema)\.)+"
)
UNNEEDED = ("mask_token", "num_batches_tracked")  # of self-supervised training; a counter that old files lack


def fill(
    net: nn.Module, weights: Mapping[str, Tensor], source: str, unused: Collection[str] = ()
) -> list[str]:
    """Gives a timm network all of its weights; returns lines that say what was done.

    weights: as a file names them, by timm's own names, the original repository's or those of Hugging Face
    transformers (ViT, DINOv2, DINOv3), under any prefix. A position embedding of another raster is resampled,
    bicubic and antialiased, its class and register entries as they are (timm's resample_abs_pos_embed);
    nothing else may change its number of values. What belongs to a part that the network does not have (a
    classifier, a decoder) is not used. source: the file, for messages. unused: names of weights that
    nothing depends on, which need not be given.

    Raises ValueError with counts and the first names unless every weight is given, in its shape, and every
    tensor of the network's own parts has a place; the network is then as before.
    """
    own = net.state_dict()
    given, prefix = of_network(from_transformers(weights), own, source)
    if not own.keys() & given.keys():
        given, prefix = _without_container(given)
    biases = _biases_without_place(given, own)
    given = _read_by_timm({name: value for name, value in given.items() if name not in biases}, net, source)
    parts = {name.split(".")[0] for name in own}
    extra = [name for name in given if name not in own and not name.endswith(UNNEEDED)]
    unknown = [name for name, value in biases.items() if value.any()] + [
        n for n in extra if "." not in n or n.split(".")[0] in parts
    ]
    needed = [name for name in own if name not in unused and not name.endswith(UNNEEDED)]
    missing = [name for name in needed if name not in given]
    misshaped = [name for name in own.keys() & given.keys() if given[name].shape != own[name].shape]
    if missing or unknown or misshaped:
        shapes = [
            f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}" for name in sorted(misshaped)
        ]
        filled = len(needed) - len(missing) - len(set(misshaped) & set(needed))
        raise ValueError(
            f"'{source}' does not fit the backbone: {filled} of {len(needed)} weights filled; "
            f"{len(missing)} missing {missing[:3]}, "
            f"{len(unknown)} without a place {unknown[:3]}, {len(shapes)} of another shape {shapes[:3]}; "
            "give the weights of this very network, in timm's names, "
            "the original repository's or those of Hugging Face transformers"
        )
    net.load_state_dict(own | {name: given[name] for name in own.keys() & given.keys()})
    lines = [
        f"backbone: {len(needed)} of {len(needed)} weights from '{source}'"
        + (f", under '{prefix}'" if prefix else "")
    ]
    left = [name for name in extra if name not in unknown]
    return lines + (
        [f"backbone: not used: {len(left)} tensors of other parts, first '{left[0]}'"] if left else []
    )


def from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same by the names of the original repositories, queries, keys and values in one, for every network
    of Hugging Face's in the file."""
    token = "embeddings.cls_token"
    for root in [name.removesuffix(token) for name in weights if name.endswith(token)]:
        theirs = {name.removeprefix(root): value for name, value in weights.items() if name.startswith(root)}
        weights = {name: value for name, value in weights.items() if not name.startswith(root)}
        weights |= {root + name: value for name, value in _original_names(theirs).items()}
    return dict(weights)


def _original_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    mlp = GATED if any(".mlp.gate_proj." in name for name in theirs) else PLAIN
    renamed = {}
    for name, value in theirs.items():
        for pattern, replacement in TRANSFORMERS:
            name = pattern.sub(replacement, name)
        for other, original in mlp.items():
            name = name.replace(other, original)
        renamed[name] = value
    if "pos_embed" not in renamed and "register_tokens" in renamed:  # DINOv3 has its own name for them
        renamed["storage_tokens"] = renamed.pop("register_tokens")
    for name in [name for name in renamed if ".attn.query." in name]:
        key, value = name.replace(".query.", ".key."), name.replace(".query.", ".value.")
        if value in renamed and (
            key in renamed or name.endswith(".bias")
        ):  # keys without a bias have one of 0
            query = renamed.pop(name)
            renamed[name.replace(".query.", ".qkv.")] = torch.cat(
                [query, renamed.pop(key, torch.zeros_like(query)), renamed.pop(value)]
            )
    return renamed


def _without_container(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors under the container that holds most of them, and its prefix."""
    prefixes = Counter(match.group() if (match := CONTAINER.match(name)) else "" for name in weights)
    prefix = max(prefixes, key=prefixes.get, default="")
    return {
        name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)
    }, prefix


def _biases_without_place(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of queries, keys and values, where the network has none: they may go if they are 0 (as in most of
    DINOv3's files)."""
    places = {
        name: (name, name.replace("qkv.bias", "q_bias")) for name in given if name.endswith("attn.qkv.bias")
    }
    return {name: given[name] for name, either in places.items() if not own.keys() & set(either)}


def _read_by_timm(given: dict[str, Tensor], net: nn.Module, source: str) -> dict[str, Tensor]:
    """A layout that timm's own reader of this architecture knows, in the network's names. Raises ValueError
    when it cannot make sense of it."""
    if {"register_tokens", "blocks.0.mlp.w12.weight"} & given.keys():
        given.setdefault("mask_token", torch.zeros(1))  # by which timm knows DINOv2
    module = vars(sys.modules[type(net).__module__])
    reader = module.get("checkpoint_filter_fn") or module.get("_filter_fn")
    if reader is None:
        return given
    try:
        read = dict(reader(dict(given), net))
    except Exception as error:  # a foreign file in a reader that expects its own
        what = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"'{source}' does not fit the backbone: timm cannot read it ({type(error).__name__}: {what})"
        ) from error
    resampled = [
        name
        for name in read
        if name in given and read[name].numel() != given[name].numel() and "pos" not in name
    ]
    return read | {name: given[name] for name in resampled}
