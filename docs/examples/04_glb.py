"""A hand in another program: export to GLB, and look at what a reader of it sees (pip install trimesh)."""

import matplotlib.pyplot as plt
import numpy as np
import trimesh

from tempohand.inference.formats.registry import export_predictions

exported = export_predictions("film-hands/predictions.npz", "glb")  # or tempohand export ... --to glb
print("\n".join(exported.lines()))

scene = trimesh.load(exported.out)  # Blender, Unity, Unreal and three.js play the animation, too
axes = plt.figure(figsize=(4, 4)).add_subplot(projection="3d")
for name in scene.graph.nodes_geometry:
    place, geometry = scene.graph[name]
    mesh = scene.geometry[geometry].copy().apply_transform(place)
    x, y, z = mesh.vertices.T  # m, y up, the hand at rest
    axes.plot_trisurf(x, -z, y, triangles=mesh.faces, color="tab:orange" if "right" in name else "tab:blue")
    print(f"{name}: {len(mesh.vertices)} vertices, {np.round(1000 * mesh.extents).astype(int)} mm")
axes.set(xlabel="x, m", ylabel="-z, m", zlabel="y, m")
axes.set_aspect("equal")
plt.savefig("04_glb.png", dpi=80)
