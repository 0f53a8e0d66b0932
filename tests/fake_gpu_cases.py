"""Every network in small, with a batch, on the fake GPU (fake_gpu.py)."""

import torch
from fake_gpu import put
from hand3d_support import SMALL as HAND3D
from hand3d_support import hand3d_batch
from tests_support import compose_config, random_batch, small_network, with_features
from utnet_support import SMALL as UTNET
from utnet_support import utnet_batch

from tempohand.model.registry import build_network

FINDER = {
    "name": "finder",
    "num_frame": 1,
    "size": 64,
    "expansion": 4.0,
    "width": 16,
    "backbone": {
        "name": "tempohand_tiny",
        "weights": None,
        "options": {"stem": 16, "stages": [[16, 1], [32, 1], [32, 1], [32, 1]]},
    },
}
HEATMAP = {
    "spatial": small_network(1)["spatial"] | {"heads": {"translation": "heatmap"}},
    "norm_by_hand": True,
}
# The networks of config/network, as small as they go: MediaPipe's backbone, and DINO's.
LANDMARK = small_network(1, expansion=1.5) | {
    "size": 224,
    "spatial": small_network(1)["spatial"]
    | {
        "backbone": {"name": "hand_landmark_full", "weights": None},
        "width": 32,
        "heatmap": {"upsample": 2, "follow": True, "upright": True},
    },
}
DINO = small_network(1) | {
    "size": 56,
    "spatial": small_network(1)["spatial"]
    | {
        "backbone": {
            "name": "vit_small_patch14_dinov2",
            "weights": None,
            "options": {"embed_dim": 32, "depth": 1, "num_heads": 2},
        }
    },
}
MAPS = {"backbone": {"name": "hand_landmark_full", "weights": None}, "strides": [8, 16, 32], "frozen": True}
# name -> network, its configuration
NETWORKS = {
    "Stage 1": (small_network(1), "stage1-tiny"),
    "Stage 1 with other heads": (small_network(1, **HEATMAP), "stage1-tiny"),
    "Stage 2 from pictures": (small_network(2), "stage2-tiny"),
    "Stage 2 from tokens": (small_network(2), "stage2-tiny"),
    "finder": (FINDER, "find-tiny"),
    "finder on palms": (
        FINDER | {"backbone": {"name": "palm_detection_full", "weights": None}},
        "find-small",
    ),
    "DINO": (DINO, "stage1-dino_small"),
    "MediaPipe's backbone": (LANDMARK, "stage1-small"),
    "UTNet": (UTNET, "utnet-tiny"),
    "UTNet with maxima": (UTNET | {"refinement": UTNET["refinement"] | {"kind": "max"}}, "utnet-tiny"),
    "UTNet on maps": (UTNET | {"size": [64, 64], "trunk": UTNET["trunk"] | {"image": MAPS}}, "utnet-tiny"),
    "Hand3D": (HAND3D, "hand3d-tiny"),
    "Hand3D with joints": (HAND3D | {"joint_maps": "tempohand-small"}, "hand3d-tiny"),
}
BATCHES = {
    "utnet": lambda size: utnet_batch(size=tuple(size)),
    "hand3d": lambda size: hand3d_batch(),
}


def make_case(kind: str):
    """(network, batch, settings), all on the device. Within `watched`."""
    settings, name = NETWORKS[kind]
    torch.manual_seed(0)
    network = build_network(settings)
    pictures = {"clips": 4, "num_frame": settings["num_frame"], "size": settings["size"]}
    batch = BATCHES.get(settings["name"], lambda size: random_batch(**pictures))(settings["size"])
    if kind == "Stage 2 from tokens":
        dim = network.spatial.packed_dim
        batch = with_features(batch, torch.zeros(len(batch.frames), dim))
    put(network)
    return network, put(batch), compose_config(name)
