"""Read a state dict that PyTorch wrote, without PyTorch and without running code that a pickle may name."""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import numpy as np

from ..settings import CourseError, one_line
from . import pickles

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Storage(NamedTuple):
    """A sequence of numbers, which follows the pickles in the file."""

    key: str
    dtype: np.dtype
    count: int


class _Tensor(NamedTuple):
    """A view of a storage: the arguments of torch._utils._rebuild_tensor_v2."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: dict


_KNOWN = {
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}
"""What stands for the names in a state dict of tensors: NumPy's types for the types of torch's storages."""


def _storage(pid: tuple) -> _Storage:
    """Return the description of a storage from its persistent id."""
    kind, dtype, key, _, count, view = pid
    if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None or type(count) is not int:
        raise ValueError("a storage of another kind")
    return _Storage(key, dtype, count)


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a PyTorch state dict, float32 or int64, by name.

    The format is that of torch.save before PyTorch 1.6 (torch/serialization.py, _legacy_save). It holds
    pickles of a magic number, the protocol, the byte order, the state dict and the list of storages. Then
    comes each storage: its length as int64, and its numbers.

    Raises:
        CourseError: the file has another format, is damaged, or its pickles need more than tensors do.
            Nothing in it is run.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path.name} cannot be read ({one_line(error)}); check the path") from error
    if content.startswith(b"PK"):
        raise CourseError(
            f"{path.name} is a zip file, as torch.save writes since 1.6; this reads the format before it"
        )
    file = io.BytesIO(content)
    try:
        magic, protocol, machine, state, keys = (
            pickles.load(file, _KNOWN, encoding="ascii", persistent=_storage) for _ in range(5)
        )
        if magic != _MAGIC or protocol != _PROTOCOL or machine["little_endian"] is not True:
            raise ValueError("not the header of this format")
        if type(keys) is not list or not all(isinstance(tensor, _Tensor) for tensor in state.values()):
            raise ValueError("not a state dict of tensors")
        storages = {t.storage.key: t.storage for t in state.values()}
        numbers = {key: _numbers(file, storages[key]) for key in keys}
        arrays, left = {}, len(content)  # tensors that share numbers could be far larger than the file
        for name, tensor in state.items():
            arrays[name] = _array(tensor, numbers[tensor.storage.key])
            left -= arrays[name].size
            if left < 0:
                raise ValueError("its tensors are far larger than the file")
        return arrays
    except UnpicklingError as error:
        raise CourseError(f"{path.name} was refused: {one_line(error)}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise CourseError(
            f"{path.name} is damaged, or no state dict as PyTorch wrote it until 1.5 ({one_line(error)})"
        ) from error


def _numbers(file: io.BytesIO, storage: _Storage) -> np.ndarray:
    size = 8 + storage.count * storage.dtype.itemsize
    part = file.read(size)
    if len(part) != size or int.from_bytes(part[:8], "little") != storage.count:
        raise ValueError(f"storage {storage.key} is not as long as it says")
    return np.frombuffer(part, storage.dtype, offset=8)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    shape, strides, offset = tensor.shape, tensor.strides, tensor.offset
    inside = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)) and len(shape) == len(strides)
    # as_strided checks no bounds. The last condition stops a stride of 0 from making a huge array of a
    # small one.
    last = (
        offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if inside
        else len(numbers)
    )
    if last >= len(numbers) or 0 in shape or np.prod(shape, dtype=float) > len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    size = numbers.itemsize
    view = np.lib.stride_tricks.as_strided(
        numbers[offset:], shape, [s * size for s in strides], writeable=False
    )
    return view.copy()
