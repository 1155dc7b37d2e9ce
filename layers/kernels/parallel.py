"""A compiled loop divided among torch's threads without Python: what a C compiler makes of

    #pragma omp parallel
    loop(*arguments, first, last)      a part of range(total) on each thread

Threads that called back into Python would wait there for the GIL, one after the other, and a thread
that waits is slow to wake up: it takes several times as long as a small layer.

numba can emit such a function, in the language of its compiler (LLVM), but has no syntax for it.
The OpenMP functions are called by names of our own, which `bind` gives to those of torch's library:
by their usual names any other library's might be found.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import FunctionType
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT, LONG, NOTHING = ir.IntType(32), ir.IntType(64), ir.VoidType()
POINTER = ir.IntType(8).as_pointer()
REGION = ir.FunctionType(NOTHING, [POINTER])
FUNCTIONS = {
    "GOMP_parallel": ir.FunctionType(NOTHING, [REGION.as_pointer(), POINTER, INT, INT]),
    "omp_get_thread_num": ir.FunctionType(INT, []),
    "omp_get_num_threads": ir.FunctionType(INT, []),
}


def bind(library: Any) -> list[int]:
    """Give our names to the library's functions, before code that calls them is loaded.

    Returns:
        Their addresses: compiled code must see the same, see `addresses`.
    """
    functions = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in FUNCTIONS]
    for name, address in zip(FUNCTIONS, functions, strict=True):
        llvmlite.binding.add_symbol(f"convnets_{name}", address)
    return functions  # type: ignore[return-value]


def _external(builder: Any, name: str) -> Any:
    return cgutils.get_or_insert_function(builder.module, FUNCTIONS[name], f"convnets_{name}")


def addresses() -> tuple[int, ...]:
    """Of the OpenMP functions, as compiled code sees them; to be compiled."""
    return _addresses()  # type: ignore[call-arg]


@intrinsic
def _addresses(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        functions = [builder.ptrtoint(_external(builder, name), LONG) for name in FUNCTIONS]
        return context.make_tuple(builder, signature.return_type, functions)

    return types.UniTuple(types.int64, len(FUNCTIONS))(), generate


@intrinsic
def _parallel(typing: Any, function: Any, arguments: Any, total: Any, threads: Any) -> Any:
    """function(*arguments, first, last) on so many threads; whether one of them failed."""
    taken = (*arguments.types, types.int64, types.int64)
    function.get_call_type(typing, taken, {})  # compiles it, if need be
    compiled = function.dispatcher.overloads[taken]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        context.add_linking_libs([compiled.library])
        _, *given, count = values
        given = cgutils.pack_struct(builder, [*given, INT(0)])  # nothing has failed yet
        data = cgutils.alloca_once_value(builder, given)
        region = ir.Function(builder.module, REGION, f"{builder.function.name}.region")
        region.linkage = "internal"

        inside = ir.IRBuilder(region.append_basic_block())
        shared = inside.bitcast(region.args[0], data.type)
        inputs, total, _ = cgutils.unpack_tuple(inside, inside.load(shared), 3)
        number, size = (
            inside.sext(inside.call(_external(inside, name), []), LONG)
            for name in ("omp_get_thread_num", "omp_get_num_threads")
        )
        first, last = (
            inside.sdiv(inside.mul(total, part), size)
            for part in (number, inside.add(number, LONG(1)))
        )
        inputs = [
            _borrowed(context, inside, kind, value)
            for kind, value in zip(
                arguments.types, cgutils.unpack_tuple(inside, inputs, len(arguments)), strict=True
            )
        ]
        status, _ = context.call_internal_no_propagate(
            inside, compiled.fndesc, compiled.signature, [*inputs, first, last]
        )
        with inside.if_then(status.is_error):  # an exception has nowhere to go from here
            inside.store(INT(1), cgutils.gep(inside, shared, 0, 2))
        inside.ret_void()

        run, count = _external(builder, "GOMP_parallel"), builder.trunc(count, INT)
        builder.call(run, [region, builder.bitcast(data, POINTER), count, INT(0)])
        return builder.load(cgutils.gep(builder, data, 0, 2))

    return types.int32(function, arguments, total, threads), generate


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An array without its reference count, which the threads would contend for at every row."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()


def in_parallel(loop: Any) -> Callable[..., Any]:
    """f(arguments, total, threads) which runs the parts of a compiled loop; to be compiled, too.

    numba keeps compiled code by the file, line and name of its source: here, those of the loop.
    """
    source = loop.py_func
    code = _run_parts.__code__.replace(
        co_filename=source.__code__.co_filename, co_firstlineno=source.__code__.co_firstlineno
    )
    function = FunctionType(code, {"_parallel": _parallel, "_loop": loop})
    function.__module__ = source.__module__
    function.__qualname__ = f"{source.__qualname__}_in_parallel"
    return function


_loop: Any = None  # of the copies that `in_parallel` makes, the loop


def _run_parts(arguments: Any, total: Any, threads: Any) -> None:
    if _parallel(_loop, arguments, total, threads) != 0:  # type: ignore[call-arg]
        raise RuntimeError("a loop failed in one of its threads: out of memory?")
