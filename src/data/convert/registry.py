"""Every data set that can be converted, by name."""

from importlib import import_module

from tempohand.data.convert.frame import Converter

# name -> (module below tempohand.data.convert, class); imported when asked for
CONVERTERS = {
    "arctic": ("arctic", "Arctic"),
    "interhand": ("interhand", "InterHand"),
    "hot3d": ("hot3d", "Hot3d"),
    "assemblyhands": ("assemblyhands", "AssemblyHands"),
    "rhd": ("rhd", "Rhd"),
    "stb": ("stb", "Stb"),
    "dexter_object": ("dexter", "DexterObject"),
    "egodexter": ("dexter", "EgoDexter"),
    "coco_wholebody": ("coco_wholebody", "CocoWholeBody"),
    "dexycb": ("dexycb", "DexYcb"),
    "freihand": ("freihand", "FreiHand"),
    "hamer_tars": ("hamer_tars", "HamerTars"),
    "ho3d_v2": ("ho3d", "Ho3dV2"),
    "ho3d_v3": ("ho3d", "Ho3dV3"),
    "mpii_nzsl": ("panoptic", "MpiiNzsl"),
    "panoptic": ("panoptic", "Panoptic"),
    "rgbd": ("rgbd", "Rgbd"),
    "real_hands": ("real_hands", "RealHands"),
    "unified_json": ("unified_json", "UnifiedJson"),
    "coco_keypoints": ("coco_keypoints", "CocoKeypoints"),
    "labelme": ("labelme", "LabelMe"),
    "labelstudio": ("labelstudio", "LabelStudio"),
    "cvat": ("cvat", "Cvat"),
    "csv": ("csv_labels", "CsvLabels"),
}


def converter_class(name: str) -> type[Converter]:
    """The converter of a data set. Raises ValueError listing the names for an unknown one."""
    if name not in CONVERTERS:
        raise ValueError(
            f"there is no data set '{name}' to convert, there are: {', '.join(sorted(CONVERTERS))}"
        )
    module, kind = CONVERTERS[name]
    return getattr(import_module(f"tempohand.data.convert.{module}"), kind)
