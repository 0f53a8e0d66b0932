"""Hands of tempohand for Blender (4.2 or later): run it in the text editor, or as
blender --python THIS_FILE.

Makes a collection with an armature, a skinned mesh and an action for each hand, and the camera; metres.
"""

import base64
import io
import math

import numpy as np

DATA = ""  # an .npz of the hands, base64


def main():
    """Builds everything in the open file."""
    import bpy

    with np.load(io.BytesIO(base64.b64decode(DATA))) as archive:
        data = dict(archive)
    scene, fps = bpy.context.scene, float(data["fps"])
    scene.render.fps = max(1, round(fps))
    scene.render.fps_base = scene.render.fps / fps
    scene.frame_start, scene.frame_end = 0, max(1, math.ceil(float(data["end"]) * fps))
    collection = bpy.data.collections.new("tempohand")
    scene.collection.children.link(collection)
    space = bpy.data.objects.new("camera space", None)  # y up, as the data; Blender's z is up
    space.rotation_euler.x = math.pi / 2
    collection.objects.link(space)
    for name in data["hands"]:
        hand = {key.split("/")[1]: data[key] for key in data if key.startswith(f"{name}/")}
        armature = add_armature(collection, str(name), hand, data)
        armature.parent = space
        mesh = add_mesh(collection, str(name), hand, data)
        mesh.parent = armature
        mesh.modifiers.new("armature", "ARMATURE").object = armature
        animate(armature, mesh, hand, data, fps)
    camera = add_camera(collection, *data["camera"].tolist())
    camera.parent = space
    scene.camera = camera
    bpy.context.view_layer.update()


def add_armature(collection, name, hand, data):
    """Bones from each joint to the next, the wrist's to the middle finger's knuckle."""
    import bpy

    armature = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    for joint, parent in enumerate(data["parents"].tolist()):
        bone = bones.new(str(data["joint_names"][joint]))
        bone.head, bone.tail = hand["joints"][joint].tolist(), hand["tails"][joint].tolist()
        if parent >= 0:
            bone.parent = bones[str(data["joint_names"][parent])]
    bpy.ops.object.mode_set(mode="OBJECT")
    return armature


def add_mesh(collection, name, hand, data):
    """The hand at rest, with a vertex group a bone."""
    import bpy

    mesh = bpy.data.meshes.new(f"{name} mesh")
    mesh.from_pydata(hand["vertices"].tolist(), [], hand["faces"].tolist())
    mesh.polygons.foreach_set("use_smooth", [True] * len(mesh.polygons))
    thing = bpy.data.objects.new(f"{name} mesh", mesh)
    material = bpy.data.materials.new(name)
    material.diffuse_color = hand["colour"].tolist()
    if not material.use_nodes:  # Blender 5 always does
        material.use_nodes = True
    surface = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    surface.inputs["Base Color"].default_value = hand["colour"].tolist()
    surface.inputs["Roughness"].default_value = 0.7
    mesh.materials.append(material)
    collection.objects.link(thing)
    for joint, weights in enumerate(hand["weights"].T):
        group = thing.vertex_groups.new(name=str(data["joint_names"][joint]))
        for vertex in np.flatnonzero(weights > 0).tolist():
            group.add([vertex], float(weights[vertex]), "REPLACE")
    return thing


def animate(armature, mesh, hand, data, fps):
    """Keys at the input's own times. A bone's rotation is in the frame of the bone at rest."""
    frames = hand["time"] * fps
    for joint, name in enumerate(data["joint_names"].tolist()):
        bone = armature.pose.bones[name]
        rest = np.array(bone.bone.matrix_local.to_3x3())
        turns = hand["turns"][:, joint]  # x, y, z, w
        values = np.concatenate([turns[:, 3:], turns[:, :3] @ rest], axis=1)
        path = f'pose.bones["{name}"].rotation_quaternion'
        set_keys(armature, path, bone, "rotation_quaternion", frames, values)
        if joint == 0:
            places = (hand["wrist"] - hand["joints"][0]) @ rest
            set_keys(armature, f'pose.bones["{name}"].location', bone, "location", frames, places)
    hidden = 1 - hand["seen"][:, None]
    for name in ("hide_viewport", "hide_render"):
        set_keys(mesh, name, mesh, name, hand["seen_time"] * fps, hidden, kind=0)


def set_keys(thing, path, owner, name, frames, values, kind=1):
    """Curves of values [n, channels] at frames [n]; kind: 0 constant, 1 linear. The first key makes the
    curves, whatever this version of Blender keeps them in."""
    owner.keyframe_insert(name, frame=float(frames[0]))
    action = thing.animation_data.action
    if hasattr(action, "fcurves"):
        curves = action.fcurves
    else:  # Blender 5
        curves = action.layers[0].strips[0].channelbags[0].fcurves
    for channel, numbers in enumerate(values.T):
        curve = curves.find(path, index=channel)
        points = curve.keyframe_points
        points.add(len(frames) - len(points))
        points.foreach_set("co", np.stack([frames, numbers], axis=1).astype(np.float32).ravel())
        points.foreach_set("interpolation", np.full(len(frames), kind, np.int32))
        curve.update()


def add_camera(collection, width, height, fx, fy, cx, cy):
    """The first frame's camera, whose picture is width x height pixels."""
    import bpy

    lens = bpy.data.cameras.new("camera")
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", 36.0
    lens.lens = fx / width * lens.sensor_width
    lens.shift_x = (width / 2 - (cx + 0.5)) / width
    lens.shift_y = ((cy + 0.5) - height / 2) / width * fx / fy
    lens.clip_start = 0.01
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = int(width), int(height)
    render.pixel_aspect_x, render.pixel_aspect_y = max(1.0, fy / fx), max(1.0, fx / fy)
    camera = bpy.data.objects.new("camera", lens)
    collection.objects.link(camera)
    return camera


if __name__ == "__main__":
    main()
