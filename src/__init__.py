"""Tempohand: 3D hands from ordinary video."""

from tempohand import compat as _compat  # noqa: F401  first: it must act before torchvision is imported

__version__ = "0.1.0"
