"""What Blender makes of an exported script, in a Python with bpy: python blender.py SCRIPT OUT.png SECONDS"""

import runpy
import sys

import bpy

script, out, seconds = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
runpy.run_path(script, run_name="__main__")
scene = bpy.context.scene
scene.frame_set(round(float(seconds) * scene.render.fps / scene.render.fps_base))
sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
sun.data.energy, sun.rotation_euler = 3.0, (0.9, -0.4, 0.0)
scene.collection.objects.link(sun)
scene.world = bpy.data.worlds.new("world")
scene.world.color = (0.4, 0.4, 0.4)
scene.render.engine = "CYCLES"
scene.cycles.samples = 24
scene.render.resolution_percentage = 100 * 400 // max(scene.render.resolution_x, scene.render.resolution_y)
scene.render.filepath = out
bpy.ops.render.render(write_still=True)
