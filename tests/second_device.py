"""A stand-in for a GPU, for machines without one: real numbers on a device of their own.

Tensors moved to `DEVICE` hold CPU data, report another device, and refuse every operation with a
CPU tensor, as CUDA does. So a test without a GPU finds tensors that were left behind, and gets the
numbers of a run on the CPU.

    python tests/second_device.py demo --device second ...

runs a command of ``mindeye2`` with it. It registers a device type with PyTorch, so it belongs in a
process of its own.
"""

import threading
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)


class _Backend(_DummyBackendModule):
    @staticmethod
    def get_amp_supported_dtype():
        return [torch.float16, torch.bfloat16]


_setup_privateuseone_for_python_backend("second", _Backend())
DEVICE = torch.device("second", 0)

TRANSFERS = {"aten::_to_copy", "aten::copy_"}
"""Operations that may read one device and write another."""

INDEXING = {"aten::index", "aten::index_put", "aten::index_put_"}
"""Operations whose indices may be on the CPU."""


class SecondDeviceTensor(Tensor):
    """A tensor on `DEVICE`; its numbers are in `data_on_cpu`."""

    @staticmethod
    def __new__(cls, data_on_cpu):
        wrapped = torch.Tensor._make_wrapper_subclass(
            cls,
            data_on_cpu.shape,
            strides=data_on_cpu.stride(),
            storage_offset=data_on_cpu.storage_offset(),
            dtype=data_on_cpu.dtype,
            device=DEVICE,
        )
        wrapped.data_on_cpu = data_on_cpu.detach()
        return wrapped

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return dispatch(operation, args, kwargs or {})

    def __repr__(self):
        return f"SecondDeviceTensor({self.data_on_cpu})"

    def __deepcopy__(self, memo):
        copied = SecondDeviceTensor(self.data_on_cpu.clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, requires_grad=self.requires_grad)
        memo[id(self)] = copied
        return copied


class _Conversions(TorchFunctionMode):
    """Convert from and to Python numbers on the CPU: PyTorch hides this from dispatch modes."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        asked = kwargs.get("device")
        if function in {torch.tensor, torch.as_tensor} and asked is not None:
            return function(*args, **kwargs | {"device": "cpu"}).to(asked)
        if function is Tensor.tolist and isinstance(args[0], SecondDeviceTensor):
            return args[0].data_on_cpu.tolist()
        return function(*args, **kwargs)


@contextmanager
def second_device():
    """Let `DEVICE` be used like any other device inside the block, in its threads too."""
    run = threading.Thread.run

    def run_with_device(thread):
        with _Conversions(), _Dispatcher():
            run(thread)

    threading.Thread.run = run_with_device
    try:
        with _Conversions(), _Dispatcher():
            yield
    finally:
        threading.Thread.run = run


class _Dispatcher(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return dispatch(operation, args, kwargs or {})


def dispatch(operation, args, kwargs):
    """Run an operation on the CPU data and wrap its result, or refuse mixed devices."""
    name = operation._schema.name
    there = _runs_there(name, args, kwargs)
    _refuse_mixed_devices(name, args, kwargs, there=there)
    args_on_cpu, kwargs_on_cpu = tree_map(_on_cpu, (args, kwargs))
    result = operation(*args_on_cpu, **kwargs_on_cpu)
    schema = operation._schema
    if schema.is_mutable:
        # In place, or into `out`: the caller gets back the tensor that it gave.
        changed = [a for a in schema.arguments if a.alias_info and a.alias_info.is_write]
        given = dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
        return given.get(changed[0].name) if schema.returns else None
    wrap = there and name != "aten::_local_scalar_dense"
    return (
        tree_map(lambda x: SecondDeviceTensor(x) if isinstance(x, Tensor) else x, result)
        if wrap
        else result
    )


def _on_cpu(value):
    if isinstance(value, SecondDeviceTensor):
        return value.data_on_cpu
    if isinstance(value, torch.device) and value.type == DEVICE.type:
        return torch.device("cpu")
    return value


def _runs_there(name, args, kwargs):
    if name == "aten::copy_":
        return isinstance(args[0], SecondDeviceTensor)
    asked = kwargs.get("device")
    if asked is not None:
        return torch.device(asked).type == DEVICE.type
    return any(isinstance(x, SecondDeviceTensor) for x in tree_leaves((args, kwargs)))


def _refuse_mixed_devices(name, args, kwargs, *, there):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here = [x for x in tensors if not isinstance(x, SecondDeviceTensor)]
    if name in INDEXING and there:
        here = [args[0]] if not isinstance(args[0], SecondDeviceTensor) else []
    # As on CUDA, a CPU tensor without dimensions may take part.
    if name not in TRANSFERS and len(here) < len(tensors) and any(x.ndim for x in here):
        raise RuntimeError(
            f"{name} got tensors on {DEVICE} and on the CPU: "
            f"{[(str(x.device), tuple(x.shape)) for x in tensors]}"
        )
    generator = kwargs.get("generator")
    if generator is not None and there:
        raise RuntimeError(f"{name} got a generator on the CPU for a tensor on {DEVICE}")


if __name__ == "__main__":
    from mindeye2.cli import main

    with second_device():
        main()
