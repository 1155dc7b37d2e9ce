"""One walk over a network: a row for each call of a layer or a function, with what it reads.

The network runs once, on fake tensors (`FakeTensorMode`): shapes are computed, numbers are not.
`torch.nn.Module.__call__` is patched as `torch.fx` patches it, and functions are seen by a
`TorchFunctionMode`.  Unlike a trace by `torch.fx`, with which every network of models/ can be
traced, too, this follows branches on shapes, `isinstance(x, Tensor)` and loops in anyone's network,
and knows the shape of each result and what autograd saves of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

INPUT = "input"  # the name of the image among `Call.inputs`
UNTRACED = "untraced"  # the op of a module that branches on values
CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)
CONSTANTS = (
    "new_tensor", "new_zeros", "new_ones", "new_full", "new_empty",
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call of a layer, or of a function between layers, in the order of execution."""

    name: str  # qualified name of the module, "layer1.0.relu", or of the function, "layer1.0.add";
    # unique: the second call is "layer1.0.relu#2"
    op: str  # "Conv2d", "ReLU", "add", "cat", "flatten", ...; UNTRACED
    module: torch.nn.Module | None  # None for a function
    inputs: tuple[str, ...]  # names of the calls that it reads; INPUT for the image
    in_shapes: tuple[tuple[int, ...], ...]  # of `inputs`, with the batch dimension
    shape: tuple[int, ...] | None  # of the output, of the first if there are several; None: unknown
    path: tuple[str, ...]  # qualified names of the modules around it, outermost first
    # Arguments of a function, of a module's forward; "" stands for a tensor of `inputs`, the
    # shape for any other, such as a weight
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    parameters: tuple[str, ...] = ()  # names of the parameters that it reads
    nbytes: int = 0  # of the outputs; 0 if they are where an input is, as a view
    saved: int | None = 0  # bytes that autograd keeps for its backward pass, and for no call before

    @property
    def is_traced(self) -> bool:
        return self.op != UNTRACED


def walk(model: torch.nn.Module, shape: Sequence[int]) -> list[Call]:
    """The calls of one forward pass, in the mode (training or evaluation) that the model is in.

    Nothing is computed, and neither parameters nor buffers nor random numbers change.  Parameters
    may be on any device, `meta` included.

    What reads no image, such as a product of two parameters, is no call.  A module whose forward
    branches on values, which fake tensors have not, is one call, `UNTRACED`: what is in it is
    unknown, and its shape is that of its output for zeros.  (A module on `meta` has no output for
    zeros; nor have scripted modules' insides a name: their call is `UNTRACED`, too.)

    Args:
        shape: of the images, (N, C, H, W).
    Raises:
        Exception: what the network raises for such images.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder(model, fake)
    tensors = (*model.parameters(), *model.buffers())
    like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    with unchanged(model), fake:
        x = torch.empty(tuple(shape), dtype=like.dtype, device=like.device)
        with recorder.watch(x), torch.enable_grad():
            model(x)
    return recorder.calls


@contextmanager
def unchanged(model: torch.nn.Module) -> Iterator[None]:
    """Restore buffers, such as batch norm's counter, and the random state after this context."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


class Recorder(TorchFunctionMode):
    """Notes calls while a network runs."""

    def __init__(self, model: torch.nn.Module, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.calls: list[Call] = []
        self.count: Counter[str] = Counter()
        self.stack: list[str] = []  # qualified names of the modules that are running
        self.inside_leaf = False
        self.names = {module: name for name, module in model.named_modules()}
        self.producers: dict[int, str] = {}  # the call that made a tensor, by the tensor's id
        self.origins: dict[int, tuple[str, ...]] = {  # parameters that a tensor is computed from
            id(parameter): (name,) for name, parameter in model.named_parameters()
        }
        self.saved: dict[int, int] = {}  # bytes of the storages that autograd has saved, by key
        self.given = {_storage(t) for t in (*model.parameters(), *model.buffers())}
        self.written: set[int] = set()  # the storages of images and outputs, by key
        self.new_bytes = 0  # saved since the last call
        self.alive: list[Any] = []  # tensors and storages, so that no id is used again

    @contextmanager
    def watch(self, x: Tensor) -> Iterator[None]:
        """Note the calls of modules and functions in this context; x is the image."""
        original = torch.nn.Module.__call__

        def call(module: torch.nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            return self.call_module(original, module, args, kwargs)

        self.producers[id(x)] = INPUT
        self.written.add(_storage(x))
        self.alive.append(x)
        torch.nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            with self, torch.autograd.graph.saved_tensors_hooks(self.note_saved, _never_unpacked):
                yield
        finally:
            torch.nn.Module.__call__ = original  # type: ignore[method-assign]

    def call_module(self, original: Any, module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        if self.inside_leaf or module not in self.names:
            return original(module, *args, **kwargs)
        name = self.names[module]
        own = [key for parameter in module.parameters() for key in self.origins[id(parameter)]]
        if is_leaf(module):
            self.inside_leaf = True
            try:
                output = original(module, *args, **kwargs)
            finally:
                self.inside_leaf = False
            op = UNTRACED if isinstance(module, torch.jit.ScriptModule) else type(module).__name__
            self.note(name or type(module).__name__, op, module, args, kwargs, output, own)
            return output
        start, self.stack = len(self.calls), [*self.stack, name]
        try:
            return original(module, *args, **kwargs)
        except Exception as error:
            output = self.call_on_zeros(original, module, args, kwargs, error)
            for call in self.calls[start:]:
                self.count[call.name.partition("#")[0]] -= 1
            del self.calls[start:]
            self.note(name or type(module).__name__, UNTRACED, module, args, kwargs, output, own)
            return output
        finally:
            self.stack = self.stack[:-1]

    def call_on_zeros(
        self, original: Any, module: torch.nn.Module, args: Any, kwargs: Any, error: Exception
    ) -> Any:
        """What a module that cannot run on fake tensors returns for zeros, as fake tensors.

        Raises:
            Exception: `error`, if the module cannot run on zeros either.
        """
        try:
            self.inside_leaf = True
            with torch._C.DisableTorchFunction(), unset_fake_temporarily(), torch.no_grad():
                zeros = tree_map(_zeros, (args, kwargs))
                result = original(module, *zeros[0], **zeros[1])
            return tree_map(self.to_fake, result)
        except Exception:
            raise error from None
        finally:
            self.inside_leaf = False

    def to_fake(self, value: Any) -> Any:
        return self.fake.from_tensor(value) if isinstance(value, Tensor) else value

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        if self.inside_leaf or not any(isinstance(t, Tensor) for t in tree_leaves(output)):
            return output
        op = function_name(function)
        operands = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        parameters = [name for t in operands for name in self.origins.get(id(t), ())]
        if op not in CONSTANTS and any(id(t) in self.producers for t in operands):
            scope = self.stack[-1] if self.stack else ""
            self.note(f"{scope}.{op}".lstrip("."), op, None, args, kwargs, output, parameters)
        else:
            for tensor in _tensors(output):
                self.origins[id(tensor)] = tuple(dict.fromkeys(parameters))
                self.alive.append(tensor)
        return output

    def note(
        self,
        name: str,
        op: str,
        module: torch.nn.Module | None,
        args: Any,
        kwargs: Any,
        output: Any,
        parameters: Sequence[str],
    ) -> None:
        """Add a call."""
        self.count[name] += 1
        if self.count[name] > 1:
            name = f"{name}#{self.count[name]}"
        read = [t for t in _tensors((args, kwargs)) if id(t) in self.producers]
        written = _tensors(output)
        new = {_storage(t): t.untyped_storage().nbytes() for t in written}
        nbytes = sum(size for key, size in new.items() if key not in self.written)
        self.written |= new.keys()
        shown, shown_by_name = tree_map(self.describe, (tuple(args), dict(kwargs)))
        self.calls.append(
            Call(
                name, op, module,
                tuple(self.producers[id(t)] for t in read), tuple(tuple(t.shape) for t in read),
                tuple(written[0].shape) if written else None,
                tuple(container for container in self.stack if container),
                shown, shown_by_name, tuple(dict.fromkeys(parameters)),
                nbytes, None if op == UNTRACED else self.new_bytes,
            )
        )  # fmt: skip
        self.new_bytes = 0
        for tensor in written:
            self.producers[id(tensor)] = name
            self.alive.append(tensor)

    def describe(self, argument: Any) -> Any:
        if not isinstance(argument, Tensor):
            return argument
        return "" if id(argument) in self.producers else tuple(argument.shape)

    def note_saved(self, tensor: Tensor) -> None:
        """Count a storage that autograd saves, once; parameters and buffers exist anyway."""
        base = tensor._base
        key = _storage(tensor if base is None else base)
        if key not in self.saved and key not in self.given:
            self.alive.append(tensor.untyped_storage())
            self.saved[key] = tensor.untyped_storage().nbytes()
            self.new_bytes += self.saved[key]


def is_leaf(module: torch.nn.Module) -> bool:
    """Whether a module is a layer of torch.nn's or ours, into which the walk does not look."""
    home = type(module).__module__.partition(".")
    library = home[0] == "layers" or type(module).__module__.startswith(("torch.nn.", "torch.ao."))
    scripted = isinstance(module, torch.jit.ScriptModule)
    return scripted or (library and not isinstance(module, CONTAINERS))


def function_name(function: Any) -> str:
    """`add` for torch.add, Tensor.add_, Tensor.__add__ and Tensor.__iadd__; T for Tensor.T."""
    name = getattr(function, "__name__", type(function).__name__)
    if name == "__get__":  # of a property
        return function.__self__.__name__
    if name.startswith("__"):
        name = name.strip("_")
        return name[1:] if name[1:] in ARITHMETIC and name[0] in "ir" else name
    return name.rstrip("_")


ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul", "mod", "and", "or")


def _tensors(values: Any) -> list[Tensor]:
    return [t for t in tree_leaves(values) if isinstance(t, Tensor)]


def _zeros(value: Any) -> Any:
    """Zeros like a fake tensor; anything else is itself."""
    if not isinstance(value, Tensor):
        return value
    return torch.zeros(tuple(value.shape), dtype=value.dtype, device=value.device)


def _storage(tensor: Tensor) -> int:
    """A key of the memory that a tensor is in."""
    return tensor.untyped_storage()._cdata


def _never_unpacked(_: None) -> Tensor:
    raise AssertionError("a walk has no backward pass")
