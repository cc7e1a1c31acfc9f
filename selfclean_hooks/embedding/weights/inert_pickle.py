"""The pickle in a file of torch.save, read as a description: no class is made and no function is called.

`torch.load(weights_only=True)` calls a list of known functions, some of which take as much memory as the file asks for.
Here each instruction of the pickle either builds a dictionary, a list, a tuple, a number or a text, or describes a
tensor; whatever else a checkpoint keeps beside its weights becomes `OTHER`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from typing import IO, Any

from selfclean_hooks.embedding.weights.pickle_names import KEYS, OTHER, Named, Other, meaning, storage
from selfclean_hooks.embedding.weights.stored_tensor import INDEX_BYTES, Storage

STEPS = 2_000_000  # instructions at most: some 60,000 tensors; the largest checkpoints have a tenth of that


def read_pickle(file: IO[bytes], trusted: Sequence[str] = ()) -> tuple[Any, dict[str, Storage]]:
    """The next pickle in an open file, which is left at its end, and the numbers outside of it that it refers to.

    Args:
        file: open for reading.
        trusted: names of further classes that may be in it; they are not used either.

    Raises:
        NotWeightsError: it needs another class or function.
        ValueError: it is damaged, or too long.
    """
    start, machine = file.tell(), _Machine(trusted)
    try:
        for step, (instruction, argument, position) in enumerate(pickletools.genops(file)):
            if step > STEPS or (position or 0) - start > INDEX_BYTES:
                raise ValueError(f"more than {STEPS} values or {INDEX_BYTES >> 20} MB in its pickle")
            machine.run(instruction.name, argument)
    except (IndexError, TypeError, AttributeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__} in its pickle") from error
    return (machine.stack[-1] if machine.stack else None), machine.storages


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": Other}
IGNORED = {"PROTO", "FRAME", "STOP", "READONLY_BUFFER"}
MARK = Other()


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.trusted = trusted

    def run(self, name: str, argument: Any) -> None:
        """One instruction."""
        if name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memory[len(self.memory) if argument is None else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memory[argument])
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in WITH_NAME:
            WITH_NAME[name](self, *argument.split(" ", 1))
        elif argument is None and name not in IGNORED:
            if name not in OPERATIONS:
                raise ValueError(f"the instruction {name} in its pickle, which files of weights do without")
            OPERATIONS[name](self)
        elif name not in IGNORED:
            self.stack.append(argument if isinstance(argument, (str, int, float)) else OTHER)  # bytes are of no use

    def marked(self) -> list[Any]:
        """What was put on the stack since the last mark, taken from it."""
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def put(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def discard(self) -> None:
        """Put something of no use in place of what was put on the stack since the last mark."""
        self.marked()
        self.put(OTHER)

    def dictionary(self) -> None:
        """A dictionary of what was put on the stack since the last mark."""
        entries = self.marked()
        self.put({})
        self.enter(entries)

    def join(self, count: int) -> None:
        """The last values as a tuple."""
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, values: list[Any]) -> None:
        """Add to the list on top of the stack."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def enter(self, entries: list[Any]) -> None:
        """Add keys and values, in turn, to the dictionary on top of the stack."""
        if isinstance(self.stack[-1], dict):
            pairs = zip(entries[::2], entries[1::2], strict=True)
            self.stack[-1].update((key, value) for key, value in pairs if isinstance(key, KEYS))

    def named(self, module: str, name: str) -> None:
        """Put on the stack what a name stands for."""
        self.put(meaning(module, name, self.trusted))

    def made(self, module: str, name: str) -> None:
        """An object of a class, as the first pickles had them."""
        self.discard()
        meaning(module, name, self.trusted)

    def call(self) -> None:
        """What a call would give."""
        arguments, called = self.stack.pop(), self.stack.pop()
        self.put(called(arguments) if isinstance(called, Named) else OTHER)

    def call_with_keywords(self) -> None:
        """The same of a call with keywords, which only objects of other classes need."""
        self.stack.pop()
        self.call()

    def refer(self) -> None:
        """A reference to numbers outside of the pickle."""
        found = storage(*self.stack.pop())
        if self.storages.setdefault(found.key, found).nbytes != found.nbytes:
            raise ValueError(f"two lengths of the numbers {found.key[:40]!r} in its pickle")
        self.put(found)


OPERATIONS: dict[str, Callable[[_Machine], Any]] = {
    "MARK": lambda m: m.put(MARK),
    "POP": lambda m: m.stack.pop(),
    "POP_MARK": _Machine.marked,
    "DUP": lambda m: m.put(m.stack[-1]),
    "TUPLE": lambda m: m.put(tuple(m.marked())),
    "TUPLE1": lambda m: m.join(1),
    "TUPLE2": lambda m: m.join(2),
    "TUPLE3": lambda m: m.join(3),
    "LIST": lambda m: m.put(m.marked()),
    "DICT": _Machine.dictionary,
    "APPEND": lambda m: m.extend([m.stack.pop()]),
    "APPENDS": lambda m: m.extend(m.marked()),
    "SETITEM": lambda m: m.enter([m.stack.pop(), m.stack.pop()][::-1]),
    "SETITEMS": lambda m: m.enter(m.marked()),
    "ADDITEMS": _Machine.marked,
    "FROZENSET": _Machine.discard,
    "STACK_GLOBAL": lambda m: m.named(*[m.stack.pop(), m.stack.pop()][::-1]),
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "OBJ": _Machine.discard,
    "BUILD": lambda m: m.stack.pop(),  # attributes of the object below it
    "BINPERSID": _Machine.refer,
}
WITH_NAME: dict[str, Callable[..., None]] = {"GLOBAL": _Machine.named, "INST": _Machine.made}
