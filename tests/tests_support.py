"""Scripts as modules, a hand of noise, small tables of moving hands with exact labels, small networks, and
batches to feed them."""

import contextlib
import importlib.util
import io
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from tempohand.batch import ClipBatch, Frames, HandTarget, frames_in_order
from tempohand.console import run_clearly
from tempohand.data.arguments import name_data, store_tables
from tempohand.data.pictures import encode_depth, encode_mask
from tempohand.data.table import write_index, write_shard
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.files import OPEN_HAND
from tempohand.hand.layer import HandLayer
from tempohand.hand.tables import SHAPES

CONFIG = Path(__file__).parents[1] / "config"
store_tables(ConfigStore.instance().store, CONFIG)  # as every script does that takes data=

# Overrides of script/train.py's configurations: the smallest network that trains, in float32. 16 channels at
# the stem are oneDNN's: its kernel for the gradient of a strided 1 x 1 convolution writes beyond 8 (torch
# 2.13, AVX-512, batches of 3, two threads).
SMALL_NETWORK = [
    "mixed_precision=no",
    "network.size=64",
    "network.spatial.backbone.options={stem: 16, stages: [[16, 1], [32, 1]], norm_group: 2}",
    "network.spatial.perspective={heads: 2, head_dim: 16}",
    "network.spatial.decoder={dim: 32, layers: 1, heads: 2, mlp: 32, dropout: 0.0}",
    "network.spatial.heatmap.upsample=2",
]


class Done(NamedTuple):
    """What a command leaves."""

    returncode: int
    stdout: str
    stderr: str


def load_file(path: Path) -> ModuleType:
    """A Python file that is no part of a package (a script, a test file), as a module."""
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def new_accelerate_state():
    """As in a new process: Accelerate knows of no Accelerator in the block, and afterwards of those from
    before it."""
    saved = [(state, dict(state._shared_state)) for state in (AcceleratorState, GradientState, PartialState)]
    try:
        for state, _ in saved:
            state._shared_state.clear()
        yield
    finally:
        for state, before in saved:
            state._shared_state.clear()
            state._shared_state.update(before)


def evaluate(script: ModuleType, *overrides: str) -> Done:
    """script/evaluate.py, loaded, with overrides of its configuration, in this process; what comes out as of
    a command."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), new_accelerate_state():
        try:
            config = compose_config(
                "evaluate",
                "device=cpu",
                "workers=0",
                *run_clearly(name_data)(overrides, script.CONFIG),
            )
            script.main(OmegaConf.create(config))
        except SystemExit as leave:
            code = leave.code
    return Done(code, out.getvalue(), err.getvalue())


def noise_hand() -> dict[str, np.ndarray]:
    """A hand model's tables made of noise: only the shapes, the tree and weights that sum to 1 are a
    hand's."""
    random = np.random.default_rng(3)
    with np.load(OPEN_HAND) as archive:
        tables = {key: archive[key] for key in SHAPES}
    for key in ("v_template", "shapedirs", "posedirs"):
        tables[key] = random.normal(0, 0.05, tables[key].shape)
    for key in ("J_regressor", "weights"):
        tables[key] = random.dirichlet(np.full(tables[key].shape[1], 0.1), tables[key].shape[0])
    return tables


def hand_rows(sequence: str, frames: int, seed: int, size: int = 96, is_right: bool = True) -> list[dict]:
    """A moving hand drawn as dots on a gradient: every label exact, the picture plain."""
    rng = np.random.default_rng([seed, 7])
    layer = HandLayer()
    pose = torch.from_numpy(rng.normal(0, 0.25, 48)).float().expand(frames, -1).clone()
    pose[:, :3] += torch.linspace(0, 0.5, frames)[:, None]
    betas = torch.from_numpy(rng.normal(0, 0.5, 10)).float().expand(frames, -1).clone()
    trans = torch.tensor([30.0, 10.0, 500.0]) + torch.linspace(0, 40, frames)[:, None] * torch.tensor(
        [1.0, 0.5, 0.3]
    )
    joints, _ = layer(pose, betas, trans)
    if not is_right:
        flip = torch.tensor([-1.0, 1.0, 1.0])
        joints, trans, pose = joints * flip, trans * flip, pose * torch.tensor([1.0, -1.0, -1.0]).repeat(16)
    focal, princpt = torch.tensor([size * 1.5, size * 1.55]), torch.tensor([size / 2 - 3.0, size / 2 + 2.0])
    joints2d = project(joints, focal.expand(frames, 2), princpt.expand(frames, 2))
    rows = []
    for frame in range(frames):
        picture = (
            np.linspace(40, 200, size, dtype=np.uint8)[None, :, None].repeat(size, 0).repeat(3, 2).copy()
        )
        for number, (u, v) in enumerate(joints2d[frame].numpy()):
            cv2.circle(picture, (round(float(u)), round(float(v))), 2, (255, 12 * number, 60), -1)
        points = joints2d[frame].numpy()
        rows.append(
            {
                "image": cv2.imencode(".png", picture[..., ::-1])[1].tobytes(),
                "width": size,
                "height": size,
                "focal": focal.numpy(),
                "princpt": princpt.numpy(),
                "box": np.concatenate([points.min(0), points.max(0)]),
                "is_right": is_right,
                "joints2d": points,
                "joints2d_mask": np.ones(21, bool),
                "joints": joints[frame].numpy(),
                "joints_mask": np.ones(21, bool),
                "pose": pose[frame].numpy(),
                "shape": betas[frame].numpy(),
                "trans": trans[frame].numpy(),
                "has_hand": True,
                "has_camera": True,
                "hidden": 0.6 if frame % 4 == 3 else 0.0,
                "source": "test",
                "sequence": sequence,
                "frame": frame,
                "time": frame / 30,
            }
        )
    return rows


BEHIND_MM = 900.0


def with_depth(rows: list[dict]) -> list[dict]:
    """The rows with the depth of what `hand_rows` draws: discs at the joints' own depth before a wall at
    BEHIND_MM, of which the left eighth was not measured; and the discs as mask."""
    for row in rows:
        depth = np.full((row["height"], row["width"]), BEHIND_MM, np.float32)
        depth[:, : row["width"] // 8] = 0
        mask = np.zeros(depth.shape, np.uint8)
        joints = zip(row["joints2d"], row["joints"][:, 2])
        for (u, v), z in sorted(joints, key=lambda joint: -joint[1]):  # the nearest one covers the others
            for canvas, value in ((depth, float(z)), (mask, 1)):
                cv2.circle(canvas, (round(float(u)), round(float(v))), 3, value, -1)
        row |= {"depth": encode_depth(depth), "mask": encode_mask(mask > 0)}
    return rows


def write_table(root, splits: dict[str, list[list[dict]]]):
    """A table of the given splits, each a list of sequences of rows."""
    root.mkdir(parents=True, exist_ok=True)
    for split, sequences in splits.items():
        write_shard(root / f"{split}-00000.arrow", [row for sequence in sequences for row in sequence])
    write_index(root, {split: [f"{split}-00000.arrow"] for split in splits}, {"made_by": "tests"})
    return root


def compose_config(name: str, *overrides: str) -> dict:
    """A runnable configuration as its script sees it."""
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        return OmegaConf.to_container(compose(name, overrides=list(overrides)), resolve=True)


def small_network(stage: int, **changes) -> dict:
    """The smallest network of a stage: 64 px, one layer of everything."""
    network = {
        "name": "posenet",
        "num_frame": 1 if stage == 1 else 7,
        "size": 64,
        "expansion": 2.0,
        "norm_by_hand": False,
        "hand": None,
        "spatial": {
            "backbone": {
                "name": "tempohand_tiny",
                "weights": None,
                "options": {"stem": 16, "stages": [[16, 1], [32, 1]]},
            },
            "perspective": {"heads": 2, "head_dim": 16},
            "decoder": {"dim": 32, "layers": 1, "heads": 2, "mlp": 32},
            "heads": {"translation": "regression"},
            "heatmap": {"upsample": 2},
            "side": True,
        },
        "temporal": None if stage == 1 else {"width": 32, "layers": 1, "heads": 2},
    }
    return network | changes


def small_finder() -> dict:
    """The smallest hand finder: 64 px, a raster of 8 x 8 cells."""
    backbone = {
        "name": "tempohand_tiny",
        "weights": None,
        "options": {"stem": 16, "stages": [[16, 1], [32, 1], [32, 1], [32, 1]]},
    }
    return {"name": "finder", "num_frame": 1, "size": 64, "expansion": 4.0, "backbone": backbone, "width": 32}


def pictures_of_clips(batch: ClipBatch) -> torch.Tensor:
    """The picture of every frame of every clip, [B, T, 3, h, w]."""
    return batch.frames.image[batch.index]


def with_features(batch: ClipBatch, features: torch.Tensor) -> ClipBatch:
    """The same clips with features [N, F] in the place of the frames' pictures."""
    return replace(batch, frames=replace(batch.frames, image=None, features=features))


def random_batch(clips: int, num_frame: int, size: int = 64, seed: int = 0) -> ClipBatch:
    """Noise for pictures with a believable camera and target: for shapes and exactness, never for
    accuracy."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    focal = torch.full((clips, num_frame, 2), size * 2.0)
    princpt = torch.full((clips, num_frame, 2), size / 2) + normal(clips, num_frame, 2)
    pose, betas = normal(clips, 1, 48) * 0.3, normal(clips, 1, 10) * 0.5
    trans = torch.tensor([0.0, 0.0, 500.0]) + normal(clips, 1, 3) * 20
    joints, _ = HandLayer()(pose, betas, trans)
    yes = torch.ones(clips, 1, dtype=torch.bool)
    image = torch.randint(0, 256, (clips, num_frame, 3, size, size), generator=generator, dtype=torch.uint8)
    time = (torch.arange(num_frame, dtype=torch.float64) / 30).expand(clips, -1)
    order, index = frames_in_order(torch.arange(clips * num_frame).view(clips, num_frame))
    values = {"image": image, "focal": focal, "princpt": princpt, "time": time}
    values = {name: value.flatten(0, 1)[order] for name, value in values.items()}
    return ClipBatch(
        frames=Frames(size=(size, size), **values),
        index=index,
        frame_mask=torch.ones(clips, num_frame, dtype=torch.bool),
        is_right=torch.ones(clips, dtype=torch.bool),
        row=torch.arange(clips),
        previous=torch.where(torch.arange(clips) % 2 == 1, torch.arange(clips) - 1, -1),
        target=HandTarget(
            joints2d=normalise_pixels(project(joints, focal[:, -1:], princpt[:, -1:]), (size, size)),
            joints2d_mask=yes[..., None].expand(-1, -1, 21),
            joints=joints,
            joints_mask=yes[..., None].expand(-1, -1, 21),
            pose=pose,
            shape=betas,
            trans=trans,
            hand_mask=yes,
            camera_mask=yes,
            hidden=torch.zeros(clips, 1),
        ),
    )
