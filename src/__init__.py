"""Tempohand: 3D hands from ordinary video."""

from tempohand import compat as _compat  # noqa: F401  first: it must act before torchvision is imported

__version__ = "0.1.0"


def load(name: str = "tempohand-small", *, stage: int | None = None, runtime: str = "torch"):
    """A network that comes with the package, or of a checkpoint, ready for use (`model.release.load`).
    runtime: "onnx" for one that computes by ONNX Runtime on the CPU (`inference.runtime.OnnxPoseNet`)."""
    from tempohand.inference.runtime import open_runtime
    from tempohand.model.release import load as load_release

    chosen = open_runtime(runtime)
    return chosen.network(load_release(name, stage=stage))
