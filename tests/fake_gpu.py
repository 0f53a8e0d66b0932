"""A device without values, in place of a GPU: PyTorch's "meta". To compute with its tensors and the CPU's at
once raises, as on a GPU; and every question for a value, for which a program would wait for the device, is
answered with 1 (or True, or "all of them") and taken down."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("meta")


def _ones(shape: torch.Size) -> float | list:
    return [_ones(shape[1:]) for _ in range(shape[0])] if shape else 1.0


ANSWERS = {
    Tensor.item: lambda t: 1.0,
    Tensor.tolist: lambda t: _ones(t.shape),
    Tensor.__bool__: lambda t: True,
    Tensor.__float__: lambda t: 1.0,
    Tensor.__int__: lambda t: 1,
    Tensor.__index__: lambda t: 1,
    Tensor.cpu: lambda t: torch.ones(t.shape, dtype=t.dtype),
}
SHAPES = (Tensor.nonzero, torch.nonzero, Tensor.masked_select)


class _Watch(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.waits: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensor = args[0] if args and isinstance(args[0], Tensor) else None
        there = tensor is not None and tensor.device == DEVICE
        if there and function in ANSWERS:
            self.waits.append(function.__name__.strip("_"))
            return ANSWERS[function](tensor)
        if there and function is Tensor.to and "cpu" in map(str, (*args[1:], *kwargs.values())):
            self.waits.append("cpu")
            return torch.ones(tensor.shape, dtype=tensor.dtype)
        if there and function in (torch.unique, Tensor.unique):
            self.waits.append("unique")
            return (
                (tensor.flatten(), torch.zeros_like(tensor))
                if kwargs.get("return_inverse")
                else tensor.flatten()
            )
        if (there and function is Tensor.new_tensor) or (
            function is torch.tensor and kwargs.get("device") == DEVICE
        ):
            self.waits.append("values of the host")
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            tensors = [part for part in parts if isinstance(part, Tensor)]
            if there and any(part.dtype == torch.bool for part in tensors):
                self.waits.append("mask")
            if any(part.device == DEVICE for part in tensors) and not there:
                raise RuntimeError(f"a tensor on {tensor.device} is indexed with one on {DEVICE}")
            if (
                function is Tensor.__setitem__
                and isinstance(args[2], Tensor)
                and args[2].ndim
                and (args[2].device == DEVICE) != there
            ):
                raise RuntimeError(f"values on {args[2].device} are written into a tensor on {tensor.device}")
        if there and function in SHAPES:
            self.waits.append(function.__name__)
        return function(*args, **kwargs)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yields the list of what the device was waited for inside, by the functions' names."""
    before, _config.meta_nonzero_assume_all_nonzero = _config.meta_nonzero_assume_all_nonzero, True
    try:
        with _Watch() as watch:
            yield watch.waits
    finally:
        _config.meta_nonzero_assume_all_nonzero = before


def put(part: nn.Module | Tensor) -> nn.Module | Tensor:
    """A network (in place, as Module.to moves it), a tensor or a batch on the device."""
    return part.to(DEVICE)
