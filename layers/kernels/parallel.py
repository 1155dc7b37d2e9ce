"""A loop divided among torch's threads without Python: what a C compiler makes of

    #pragma omp parallel
    loop(*arguments, first, last)      a part of range(total) for each thread

Threads that came back to Python would wait there for its lock, one after the other, and a thread
that waits is slow to wake up: several times as long as a small layer takes.

numba can write such a function, in the language of its compiler (LLVM), but has no words for it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT, LONG, NOTHING = ir.IntType(32), ir.IntType(64), ir.VoidType()
POINTER = ir.IntType(8).as_pointer()
REGION = ir.FunctionType(NOTHING, [POINTER])
PARALLEL = ir.FunctionType(NOTHING, [REGION.as_pointer(), POINTER, INT, INT])


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
            inside.sext(inside.call(_external(inside, name, ir.FunctionType(INT, [])), []), LONG)
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

        run, count = _external(builder, "GOMP_parallel", PARALLEL), builder.trunc(count, INT)
        builder.call(run, [region, builder.bitcast(data, POINTER), count, INT(0)])
        return builder.load(cgutils.gep(builder, data, 0, 2))

    return types.int32(function, arguments, total, threads), generate


def _borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An array without its count of references, for which the threads would vie at every row."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()


def _external(builder: Any, name: str, kind: ir.FunctionType) -> Any:
    return cgutils.get_or_insert_function(builder.module, kind, name)


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
