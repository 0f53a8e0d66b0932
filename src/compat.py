"""One cure for one broken pair of wheels: torchvision's CUDA wheel beside a CPU build of torch.

torchvision registers its operators from a library that links CUDA. Where torch has none, that library does
not load and `import torchvision` dies with "operator torchvision::nms does not exist"; so do timm and the
`accelerate` command, which import it. Declaring the two operators' schemas before torchvision's first import
is enough, since nothing here calls them.

`install` places a hook that does this just before torchvision is imported, and only for that pair of builds.
Importing tempohand installs it; `python -c 'from tempohand.compat import main; main()'` writes a .pth file
into this environment's site-packages so that commands of other packages (`accelerate launch`) have it too.
"""

import importlib.abc
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

PTH_NAME = "tempohand_torchvision.pth"
# One line, as .pth files demand; silent once tempohand is gone from the environment.
PTH_LINE = "import importlib.util as u; u.find_spec('tempohand') and __import__('tempohand.compat')\n"
_NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept_alive = []


def _declare_operators() -> None:
    import torch

    if torch.version.cuda is not None or version("torchvision").endswith("+cpu"):
        return  # a matching pair of builds
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + _NMS)
    _kept_alive.append(library)  # a Library takes its definitions with it when it is collected


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds nothing itself: declares the operators when torchvision is first looked for, then steps aside."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare_operators()
        return None


def install() -> None:
    """Places the hook, once, unless torchvision is imported already."""
    if "torchvision" not in sys.modules and not any(
        isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _BeforeTorchvision())


def main() -> None:
    """Writes the .pth file of this environment."""
    target = Path(sysconfig.get_path("purelib")) / PTH_NAME
    target.write_text(PTH_LINE, encoding="utf-8")
    print(f"wrote {target.name} into this environment's site-packages")


install()
