"""Pixar's Universal Scene Description: each hand a UsdSkel mesh, skeleton and animation, and the camera; a
text (.usda) or binary (.usd, .usdc) file by its name. Needs usd-core.

Metres, y up, the camera at the origin looking along -z. Time codes are frames of the input's rate, samples
lie at its own times. The skin is linear blend skinning with all weights of the hand model.
"""

import errno
import re
import tempfile
from pathlib import Path

import numpy as np

from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.inference.formats.rig import (
    COLOURS,
    Motion,
    Rig,
    continuous,
    influences,
    quaternions,
    require_times,
    shape_note,
    visibility,
)
from tempohand.render import vertex_normals
from tempohand.skeleton import MANO_JOINT_NAMES, MANO_PARENTS
from tempohand.writing import whole

ENDINGS = (".usd", ".usda", ".usdc")
_DEFAULT_RATE = 30.0
_JOINT_PATHS: list[str] = []  # as in wrist/index_1/index_2
for _name, _parent in zip(MANO_JOINT_NAMES, MANO_PARENTS):
    _JOINT_PATHS.append(_name if _parent < 0 else f"{_JOINT_PATHS[_parent]}/{_name}")
_APERTURE = 20.955  # mm, UsdGeom's default; only its ratio to the focal length counts


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises ValueError without usd-core, for a name that does not end as USD's files do, and for several
    pictures without times; and OSError."""
    try:
        from pxr import Tf, Usd, UsdGeom
    except ImportError:
        raise ValueError("USD files need usd-core: pip install 'tempohand[usd]'") from None
    if out.suffix not in ENDINGS:
        raise ValueError(f"`out` '{out}' ends in none of {', '.join(ENDINGS)}")
    require_times(predictions)
    tracks, end = predictions.tracks(), float(predictions.time.max())
    rate = predictions.fps if predictions.fps > 0 else _DEFAULT_RATE
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(end * rate)
    top = UsdGeom.Xform.Define(stage, "/hands")
    stage.SetDefaultPrim(top.GetPrim())
    for track in tracks:
        _add_hand(stage, track, end, rate)
    _add_camera(stage, predictions)
    with whole(out) as part, tempfile.TemporaryDirectory(dir=part.parent) as folder:
        file = Path(folder) / out.name  # USD tells its kinds of files by their names
        try:
            stage.GetRootLayer().Export(str(file))
        except Tf.ErrorException as error:
            why = re.search(r"'(.*)'", str(error))
            raise OSError(errno.EIO, why[1] if why else "USD cannot write it", str(out)) from None
        file.replace(part)
    return [shape_note(tracks), "pose correctives are left out: the skin is linear blend skinning"]


def _add_hand(stage, track: HandTrack, end: float, rate: float) -> None:
    from pxr import Gf, Sdf, UsdGeom, UsdSkel, Vt

    rig, path = Rig.of(track), f"/hands/{track.name}"
    root = UsdSkel.Root.Define(stage, path)
    for time, seen in visibility(track, end):
        token = UsdGeom.Tokens.inherited if seen else UsdGeom.Tokens.invisible
        root.CreateVisibilityAttr().Set(token, time * rate)
    skeleton = UsdSkel.Skeleton.Define(stage, f"{path}/skeleton")
    skeleton.CreateJointsAttr(_JOINT_PATHS)
    offsets = [rig.offset(joint) if joint else rig.joints[0] for joint in range(len(_JOINT_PATHS))]
    for attribute, places in (
        (skeleton.CreateBindTransformsAttr(), rig.joints),
        (skeleton.CreateRestTransformsAttr(), offsets),
    ):
        moves = [Gf.Matrix4d().SetTranslate(Gf.Vec3d(*place.tolist())) for place in places]
        attribute.Set(Vt.Matrix4dArray(moves))
    _add_motion(stage, f"{path}/motion", track, np.array(offsets), rate)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets(
        [Sdf.Path(f"{path}/motion")]
    )
    mesh = _add_mesh(stage, path, rig, COLOURS[track.is_right][:3])
    joints, weights = (np.concatenate(sets, axis=1) for sets in zip(*influences(rig.weights)))
    binding, width = UsdSkel.BindingAPI.Apply(mesh.GetPrim()), joints.shape[1]
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    binding.CreateJointIndicesPrimvar(False, width).Set(
        Vt.IntArray.FromNumpy(joints.astype(np.int32).ravel())
    )
    binding.CreateJointWeightsPrimvar(False, width).Set(Vt.FloatArray.FromNumpy(weights.ravel()))


def _add_mesh(stage, path: str, rig: Rig, colour: list[float]):
    """The hand at rest, in a colour, as a UsdGeom.Mesh."""
    from pxr import Gf, Sdf, UsdGeom, UsdShade, Vt

    mesh = UsdGeom.Mesh.Define(stage, f"{path}/mesh")
    points = Vt.Vec3fArray.FromNumpy(rig.vertices.astype(np.float32))
    mesh.CreatePointsAttr(points)
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray([3] * len(rig.faces)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(rig.faces.astype(np.int32).ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(vertex_normals(rig.vertices, rig.faces)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*colour)])
    material = UsdShade.Material.Define(stage, f"{path}/skin")
    surface = UsdShade.Shader.Define(stage, f"{path}/skin/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(*colour))
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.7)
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    return mesh


def _add_motion(stage, path: str, track: HandTrack, offsets: np.ndarray, rate: float) -> None:
    from pxr import Gf, UsdSkel, Vt

    motion, animation = Motion.of(track), UsdSkel.Animation.Define(stage, path)
    turns = continuous(quaternions(motion.rotations)).astype(np.float32)
    animation.CreateJointsAttr(_JOINT_PATHS)
    animation.CreateScalesAttr(Vt.Vec3hArray([Gf.Vec3h(1)] * len(_JOINT_PATHS)))
    moves, rotations = animation.CreateTranslationsAttr(), animation.CreateRotationsAttr()
    places = np.repeat(offsets[None].astype(np.float32), len(turns), axis=0)
    places[:, 0] = motion.wrist
    for row, code in enumerate((track.time * rate).tolist()):
        moves.Set(Vt.Vec3fArray.FromNumpy(places[row]), code)
        rotations.Set(Vt.QuatfArray.FromNumpy(turns[row]), code)


def _add_camera(stage, predictions: Predictions) -> None:
    """The first frame's camera, with its principal point."""
    from pxr import Gf, UsdGeom

    (width, height), (fx, fy) = predictions.image_size[0].tolist(), predictions.focal[0].tolist()
    centre_x, centre_y = (predictions.princpt[0].astype(np.float64) + 0.5).tolist()  # from the corner
    lens = UsdGeom.Camera.Define(stage, "/hands/camera")
    length = fx / width * _APERTURE
    upright = height / fy * length
    lens.CreateHorizontalApertureAttr(_APERTURE)
    lens.CreateVerticalApertureAttr(upright)
    lens.CreateHorizontalApertureOffsetAttr(_APERTURE * (0.5 - centre_x / width))
    lens.CreateVerticalApertureOffsetAttr(upright * (centre_y / height - 0.5))
    lens.CreateFocalLengthAttr(length)
    lens.CreateClippingRangeAttr(Gf.Vec2f(0.01, 100.0))
