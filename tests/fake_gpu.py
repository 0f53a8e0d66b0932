"""A CUDA device without values, in place of a GPU: PyTorch's fake tensors, which know shape, type and device.

To compute with its tensors and the CPU's at once raises, as on a GPU, and autocast is CUDA's. Every question
for a value, for which a program would wait for the device, is answered with 1 (or True, or "all of them") and
taken down. What is on the CPU is real.

Two things that a build of torch without CUDA lacks are put in its place: a device guard (torch has one that
does nothing), and the walk backwards, since torch's engine asks for the device's streams.
"""

import ctypes
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch._C._autograd import DeviceType
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import arg_tree_leaves, tree_map_only

DEVICE = torch.device("cuda", 0)
HOST = torch.device("cpu")
MODE = FakeTensorMode(allow_non_fake_inputs=True)


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
REFUSED = (Tensor.numpy, Tensor.__array__)
MAKERS = (torch.tensor, torch.as_tensor)
# name -> answer, where programs ask the runtime and not a tensor
RUNTIME = {
    "is_available": lambda: True,
    "is_bf16_supported": lambda including_emulation=True: True,
    "get_device_name": lambda device=None: "fake GPU",
    "device_count": lambda: 1,
    "set_device": lambda device: None,
    "current_device": lambda: 0,
    "synchronize": lambda device=None: None,
    "reset_peak_memory_stats": lambda device=None: None,
    "max_memory_allocated": lambda device=None: 0,
    "memory_allocated": lambda device=None: 0,
}
GENERATOR, MODULE_TO = torch.Generator, nn.Module.to


class _Watch(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.waits: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        leaves = arg_tree_leaves(*args, **kwargs)
        places = [leaf for leaf in leaves if isinstance(leaf, torch.device | str)]
        if not any(isinstance(leaf, FakeTensor) for leaf in leaves) and not any(map(_is_gpu, places)):
            return function(*args, **kwargs)
        with torch._C.DisableTorchFunction():  # attributes that are asked for here
            first = args[0] if args and isinstance(args[0], FakeTensor) else None
        if first is not None and function in ANSWERS:
            self.waits.append(function.__name__.strip("_"))
            return ANSWERS[function](first)
        if function in REFUSED:
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first")
        if function is Tensor.__deepcopy__:
            args[1][id(first)] = copy = _another(first)
            return copy
        if function is Tensor.backward:
            return walk_back(*args, **kwargs)
        if first is not None and function is Tensor.to and any(_is_host(place) for place in leaves):
            self.waits.append("cpu")
            return torch.ones(first.shape, dtype=first.dtype)
        if function is Tensor.copy_ and first is None:
            self.waits.append("cpu")
            return args[0]
        if first is not None and function in (torch.unique, Tensor.unique):
            self.waits.append("unique")
            return (first.flatten(), _places(first)) if kwargs.get("return_inverse") else first.flatten()
        if first is not None and function in (Tensor.nonzero, torch.nonzero):
            self.waits.append("nonzero")
            return torch.stack(_places_of_all(first), dim=-1)
        if first is not None and function is Tensor.masked_select:
            self.waits.append("masked_select")
            return first.flatten()
        if function is Tensor.new_tensor or function in MAKERS:
            self.waits.append("values of the host")
            where = {"dtype": kwargs.get("dtype"), "device": HOST}
            return _copied(torch.tensor(args[1 if first is not None else 0], **where))
        if function in (Tensor.to, Tensor.cuda) and first is None:
            return _copied(_of_type(args[0], (*args[1:], *kwargs.values())))
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            args = self._indexed(function, args)
        with MODE:
            return function(*_on_the_device(args), **_on_the_device(kwargs))

    def _indexed(self, function, args: tuple) -> tuple:
        """The arguments, with the places of all entries for masks, which all are True."""
        tensor, there = args[0], isinstance(args[0], FakeTensor)
        parts = args[1] if isinstance(args[1], tuple) else (args[1],)
        if not there and any(isinstance(part, FakeTensor) for part in parts):
            raise RuntimeError(f"a tensor on {tensor.device} is indexed with one on {DEVICE}")
        if function is Tensor.__setitem__ and isinstance(args[2], Tensor) and args[2].ndim:
            if there and not isinstance(args[2], FakeTensor):
                raise RuntimeError(f"values on {args[2].device} are written into a tensor on {DEVICE}")
            if not there:
                raise RuntimeError(f"values on {DEVICE} are written into a tensor on {tensor.device}")
        opened = []
        for part in parts:
            if isinstance(part, Tensor) and part.dtype == torch.bool:
                self.waits.append("mask")
                opened += _places_of_all(part)
            elif there and isinstance(part, list | tuple):
                self.waits.append("values of the host")
                opened.append(_places(torch.tensor(part)))
            else:
                opened.append(part)
        return (tensor, tuple(opened), *args[2:])


def _is_gpu(place: object) -> bool:
    return str(place).split(":")[0] == DEVICE.type


def _is_host(place: object) -> bool:
    return isinstance(place, torch.device | str) and str(place) == "cpu"


def _on_the_device(values):
    """The same, with the device's number where it lacks: torch would ask the runtime for it."""
    return tree_map_only((torch.device, str), lambda place: DEVICE if _is_gpu(place) else place, values)


def _of_type(tensor: Tensor, wanted: tuple) -> Tensor:
    """A tensor of the CPU in the type that Tensor.to is asked for."""
    types = [value if isinstance(value, torch.dtype) else getattr(value, "dtype", None) for value in wanted]
    return tensor.to(next((dtype for dtype in types if dtype), tensor.dtype))


def _copied(tensor: Tensor) -> Tensor:
    """A tensor of the CPU on the device."""
    with MODE:
        shape, strides = tuple(tensor.shape), tensor.stride()
        return torch.empty_strided(
            shape, strides, dtype=tensor.dtype, device=DEVICE, requires_grad=tensor.requires_grad
        )


def _another(tensor: Tensor) -> Tensor:
    """One of the same kind."""
    with MODE, torch._C.DisableTorchFunction():
        copy = torch.empty_like(tensor.detach())
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copy, tensor.requires_grad)
    return copy.requires_grad_(tensor.requires_grad)


def _places(tensor: Tensor) -> Tensor:
    with MODE:
        return torch.zeros(tensor.shape, dtype=torch.long, device=DEVICE)


def _places_of_all(mask: Tensor) -> list[Tensor]:
    with MODE:
        return [torch.zeros(mask.numel(), dtype=torch.long, device=DEVICE) for _ in range(mask.ndim)]


def walk_back(loss: Tensor, gradient: Tensor | None = None, *_, mode=MODE, **__) -> None:
    """Tensor.backward: each node of the graph once all that comes after it is done, its gradients in the type
    and shape of what they are of. Raises RuntimeError for gradients on another device than that."""
    todo, nodes, uses = [loss.grad_fn], set(), Counter()
    while todo:
        node = todo.pop()
        if node not in nodes:
            nodes.add(node)
            before = [other for other, _ in node.next_functions if other is not None]
            uses.update(before)
            todo += before
    with mode, torch.no_grad(), torch._C.DisableTorchFunction():
        given = defaultdict(dict)
        given[loss.grad_fn][loss.output_nr] = torch.ones_like(loss) if gradient is None else gradient
        ready = [loss.grad_fn]
        while ready:
            node = ready.pop()
            gradients = _through(node, given.pop(node, {}))
            for (other, number), value in zip(node.next_functions, gradients):
                if other is None:
                    continue
                if value is not None:
                    sums, value = given[other], _fitted(value, other, number)
                    sums[number] = sums[number] + value if number in sums else value
                uses[other] -= 1
                if not uses[other]:
                    ready.append(other)


def _fitted(value: Tensor, node, number: int) -> Tensor:
    """A gradient in the shape and type of what it is of: before sums, since it may be of many rows."""
    about = node._input_metadata[number]
    if value.device != about.device:
        raise RuntimeError(f"{node.name()}: a gradient on {value.device} of what is on {about.device}")
    return value.sum_to_size(tuple(about.shape)).to(about.dtype)


def _through(node, given: dict[int, Tensor]) -> tuple:
    """The gradients of what went into a node."""
    if node.name() == "torch::autograd::AccumulateGrad":
        if given:
            parameter, value = node.variable, given[0]
            parameter.grad = value if parameter.grad is None else parameter.grad + value
        return ()
    if not given:
        return (None,) * len(node.next_functions)
    found = node(*(given.get(number) for number in range(len(node._input_metadata))))
    return found if isinstance(found, tuple) else (found,)


def _place_guard() -> None:
    """Where torch has no guard for CUDA devices it replaces one that knows of no device by one that does
    nothing (_ensureCUDADeviceGuardSet); that of lazy tensors is such a one."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    kinds = ctypes.c_void_p * (DeviceType.PrivateUse1.value + 1)
    guards = kinds.in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    cuda = DeviceType.CUDA.value
    if not guards[cuda]:
        guards[cuda] = guards[DeviceType.Lazy.value]
    torch._C._ensureCUDADeviceGuardSet()


def _moved(module: nn.Module, *args, **kwargs) -> nn.Module:
    """Module.to. Parameters become others: a tensor of the CPU cannot become a fake one."""
    if not any(_is_gpu(value) for value in (*args, *kwargs.values())):
        return MODULE_TO(module, *args, **kwargs)
    seen = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None or isinstance(tensor, FakeTensor):
                    continue
                if id(tensor) not in seen:
                    moved = _copied(tensor.detach())
                    parameter = isinstance(tensor, nn.Parameter)
                    seen[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if parameter else moved
                tensors[name] = seen[id(tensor)]
    return module


@contextmanager
def present() -> Iterator[None]:
    """There is a GPU inside, as far as programs ask the runtime; what they ask its tensors is not answered (a
    compiler would follow the answers). `with MODE` makes tensors on it."""
    _place_guard()
    with (
        mock.patch.multiple(torch.cuda, **RUNTIME),
        mock.patch.multiple(torch.accelerator, is_available=lambda: True),
        mock.patch.object(nn.Module, "to", _moved),
        mock.patch.object(torch, "Generator", lambda device=None: GENERATOR()),
    ):
        yield


@contextmanager
def watched() -> Iterator[list[str]]:
    """There is a GPU inside. Yields the list of what it was waited for, by the functions' names."""
    with (
        present(),
        _Watch() as watch,
        # A fake tensor's own one asks for each number, past the watch.
        mock.patch.object(FakeTensor, "tolist", lambda tensor: Tensor.tolist(tensor)),
    ):
        yield watch.waits


def put(part: nn.Module | Tensor) -> nn.Module | Tensor:
    """A network (in place, as Module.to moves it), a tensor or a batch on the device, within `watched`."""
    return part.to(DEVICE)
