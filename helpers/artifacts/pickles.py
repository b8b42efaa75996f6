"""Read a pickle of plain values and arrays without running what it names.

Python's own unpickler calls whatever a pickle names, and a few bytes can make it take any time or memory.
This reader goes through the pickle's operations itself. It knows those that build numbers, strings, lists,
dicts and tuples. Instead of a named class or function, it puts the stand-in that the caller gives for it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np

Known = Mapping[tuple[str, str], Any]
"""The stand-in for each name that a pickle may use, by module and name. A stand-in may be a function."""


def load(
    file: BinaryIO,
    known: Known,
    *,
    encoding: str | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle.

    Args:
        file: is left behind the pickle's end.
        known: the stand-ins. Any other name is refused.
        encoding: of Python 2's strings; they stay bytes if None.
        persistent: makes an object from a persistent id; without it there may be none.

    Raises:
        UnpicklingError: the pickle names something else, or does what plain values do not need.
        Exception: the pickle is damaged. A damaged pickle can raise nearly anything, though nothing is run.
    """
    reader = _Reader(known, encoding, persistent)
    for operation, argument, _ in pickletools.genops(file):
        if operation.name not in _OPERATIONS:
            raise UnpicklingError(f"its operation {operation.name} is not one that plain values need")
        _OPERATIONS[operation.name](reader, argument)
    (value,) = reader.stack
    return value


class _Reader:
    """The stack and the memo of a pickle that is being read."""

    def __init__(self, known: Known, encoding: str | None, persistent: Callable | None):
        self.known, self.encoding, self.persistent = known, encoding, persistent
        self.stack, self.marks, self.memo = [], [], {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def text(self, value: str) -> None:
        """Push a string of Python 2, of which pickletools has decoded each byte as a character."""
        content = value.encode("latin-1")
        self.push(content.decode(self.encoding) if self.encoding else content)

    def since_mark(self) -> list:
        """Take what was pushed since the last mark."""
        first = self.marks.pop()
        found = self.stack[first:]
        del self.stack[first:]
        return found

    def last(self, number: int) -> tuple:
        """Take the last values."""
        return tuple(self.stack.pop() for _ in range(number))[::-1]

    def extend(self, values: list) -> None:
        if type(self.stack[-1]) is not list:
            raise UnpicklingError("it adds to something that is no list")
        self.stack[-1].extend(values)

    def set_items(self, flat: list) -> None:
        target = self.stack[-1]
        # No tuples as keys: of tuples that hold each other twice, a hash can take for ever.
        if type(target) is not dict or not all(isinstance(key, (str, bytes)) for key in flat[::2]):
            raise UnpicklingError("its keys are not all strings")
        target.update(zip(flat[::2], flat[1::2], strict=True))

    def dict(self) -> None:
        found = self.since_mark()
        self.push({})
        self.set_items(found)

    def name(self, module: str, name: str) -> None:
        if (module, name) not in self.known:
            raise UnpicklingError(f"it asks for {str(module)[:60]}.{str(name)[:60]}")
        self.push(self.known[module, name])

    def call(self) -> None:
        function, arguments = self.last(2)
        if not callable(function) or type(arguments) is not tuple:
            raise UnpicklingError("it calls something that is no function")
        self.push(function(*arguments))

    def build(self) -> None:
        """Give an array its state. A dict's attributes are left out."""
        target, state = self.last(2)
        if isinstance(target, Array):
            target.state = state
        elif type(target) is not dict and target != "u1":  # a type's state is its byte order
            raise UnpicklingError("it changes something that is no array")
        self.push(target)

    def refer(self) -> None:
        if self.persistent is None:
            raise UnpicklingError("it refers to something outside")
        self.push(self.persistent(self.stack.pop()))


_OPERATIONS: dict[str, Callable[[_Reader, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda reader, _: None),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT")
        + ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE")
        + ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        _Reader.push,
    ),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _Reader.text),
    "NONE": lambda reader, _: reader.push(None),
    "NEWTRUE": lambda reader, _: reader.push(True),
    "NEWFALSE": lambda reader, _: reader.push(False),
    "MARK": lambda reader, _: reader.marks.append(len(reader.stack)),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "EMPTY_TUPLE": lambda reader, _: reader.push(()),
    "LIST": lambda reader, _: reader.push(reader.since_mark()),
    "DICT": lambda reader, _: reader.dict(),
    "TUPLE": lambda reader, _: reader.push(tuple(reader.since_mark())),
    "TUPLE1": lambda reader, _: reader.push(reader.last(1)),
    "TUPLE2": lambda reader, _: reader.push(reader.last(2)),
    "TUPLE3": lambda reader, _: reader.push(reader.last(3)),
    "APPEND": lambda reader, _: reader.extend([reader.stack.pop()]),
    "APPENDS": lambda reader, _: reader.extend(reader.since_mark()),
    "SETITEM": lambda reader, _: reader.set_items(list(reader.last(2))),
    "SETITEMS": lambda reader, _: reader.set_items(reader.since_mark()),
    **dict.fromkeys(
        ("PUT", "BINPUT", "LONG_BINPUT"),
        lambda reader, place: reader.memo.__setitem__(place, reader.stack[-1]),
    ),
    "MEMOIZE": lambda reader, _: reader.memo.__setitem__(len(reader.memo), reader.stack[-1]),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda reader, place: reader.push(reader.memo[place])),
    "GLOBAL": lambda reader, names: reader.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda reader, _: reader.name(*reader.last(2)),
    "REDUCE": lambda reader, _: reader.call(),
    "BUILD": lambda reader, _: reader.build(),
    "BINPERSID": lambda reader, _: reader.refer(),
}
"""What each operation of a pickle does, by the name that pickletools gives it."""


# ------------------------------------------------------------------------------------------ NumPy's arrays


class Array:
    """An array of NumPy as its pickle describes it; ``state`` is what the pickle sets last."""

    def __init__(self, *state: Any):
        self.state = state

    def bytes(self) -> np.ndarray:
        """Return the array, if it is one of unsigned bytes.

        Raises:
            ValueError: it is not, or its numbers are more or fewer than its shape says.
        """
        _, shape, dtype, by_columns, content = self.state
        if dtype != "u1" or type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("its data are not an array of unsigned bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns is True else "C")


def _encoded(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError("its text has an unusual encoding")
    return text.encode("latin-1")


_CORES = ("numpy.core", "numpy._core")  # NumPy 1 and NumPy 2
NUMPY: Known = {
    **{(f"{core}.multiarray", "_reconstruct"): lambda *_: Array() for core in _CORES},
    **{
        (f"{core}.numeric", "_frombuffer"): lambda content, dtype, shape, order: Array(
            1, shape, dtype, order == "F", content
        )
        for core in _CORES
    },
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): lambda name, *_: name.decode() if isinstance(name, bytes) else name,
    ("_codecs", "encode"): _encoded,
}
"""The stand-ins for what a pickled array of bytes names."""
