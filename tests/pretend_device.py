"""CPU tensors that say they lie on a GPU, and an error wherever a GPU would meet the CPU.

Code that must run unchanged on a GPU is run under `PretendDevice` on a machine without one: what is
made or moved with device="cuda" carries that tag, results carry their operands' tag, and an
operation that mixes tags fails as it would on the real device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CPU = torch.device("cpu")
GPU = torch.device("cuda")
MOVES = ("to", "cpu", "type_as")


class MixedDevices(AssertionError):
    pass


def device_of(value: Tensor) -> torch.device:
    return getattr(value, "_pretended", CPU)


def tagged(value: Any, device: torch.device) -> Any:
    def tag(one: Any) -> Any:
        if isinstance(one, Tensor):
            one._pretended = device  # pyright: ignore[reportAttributeAccessIssue]
        return one

    return tree_map(tag, value)


def put(module: nn.Module, device: torch.device = GPU) -> None:
    """What `module.to(device)` does."""
    for value in (*module.parameters(), *module.buffers()):
        tagged(value, device)


class PretendDevice(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if func == torch.Tensor.device.__get__:  # pyright: ignore[reportAttributeAccessIssue]
            return device_of(args[0])
        if name in MOVES:
            return self._moved(name, func, args, kwargs)
        if name == "numpy" and device_of(args[0]) != CPU:
            raise MixedDevices("numpy() of a tensor on the GPU")
        if kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            if kwargs.get("generator") is not None and device != CPU:
                raise MixedDevices(f"{name} on {device} with a CPU generator")
            return tagged(func(*args, **kwargs), device)
        if name == "copy_":
            return func(*args, **kwargs)
        return tagged(func(*args, **kwargs), self._common(name, args, kwargs))

    @staticmethod
    def _moved(name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        source, *others = args
        device = CPU if name == "cpu" else device_of(source)
        kept: list[Any] = []
        for other in (*others, kwargs.pop("device", None)):
            if isinstance(other, torch.device | str):
                device = torch.device(other)
            elif isinstance(other, Tensor):
                device = device_of(other)
                kept.append(other)
            elif other is not None:
                kept.append(other)
        moved = func(source, *kept, **kwargs) if kept or kwargs or name == "cpu" else source
        if device != device_of(source) and moved is source:
            moved = source.clone()
        return tagged(moved, device)

    @staticmethod
    def _common(name: str, args: Any, kwargs: Any) -> torch.device:
        """The device of the operands. As on a GPU, numbers in CPU tensors without axes and CPU
        indices may go with any other."""
        operands = tree_flatten((args, kwargs))[0]
        if name == "__getitem__":
            operands = [args[0], *(o for o in operands[1:] if _is_on(o, GPU))]
        tensors = [one for one in operands if isinstance(one, Tensor)]
        devices = {device_of(one) for one in tensors if one.ndim or _is_on(one, GPU)}
        if len(devices) > 1:
            shapes = [(tuple(one.shape), str(device_of(one))) for one in tensors]
            raise MixedDevices(f"{name} mixes devices: {shapes}")
        return devices.pop() if devices else CPU


def _is_on(value: Any, device: torch.device) -> bool:
    return isinstance(value, Tensor) and device_of(value) == device
