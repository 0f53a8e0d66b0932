"""Tempohand: 3D hands from ordinary video."""

from tempohand import compat as _compat  # noqa: F401  first: it must act before torchvision is imported

__version__ = "0.1.0"


def load(name: str = "tempohand-small", *, stage: int = 2):
    """A network that comes with the package, ready for use (`tempohand.model.release.load`)."""
    from tempohand.model.release import load as load_release

    return load_release(name, stage=stage)
