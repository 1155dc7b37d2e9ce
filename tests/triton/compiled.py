"""What a GPU would be given, without one: a launch is recorded, and compiled."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from layers.kernels.triton import runtime

POINTERS = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.uint8: "*u8",
    torch.int32: "*i32",
}  # fmt: skip
MATRIX = ("HGMMA", "HMMA")  # matrix instructions: of sm_90, and of sm_80
OPTIONS = ("num_warps", "num_stages")


@dataclass
class Launch:
    kernel: Any
    arguments: tuple
    options: dict[str, Any]


@dataclass
class Machine:
    """What a compiled kernel asks of the machine."""

    registers: int  # of a thread
    spilled: int  # bytes of a thread that find no register
    shared: int  # bytes of a block of threads
    matrix: int  # matrix instructions
    wide: int  # loads of 16 bytes
    loads: int  # from global memory, wide or not


def launches(compute, *arguments):
    """The launches that a kernel's `compute` makes; nothing is computed."""
    found = []
    before = runtime.launch
    runtime.launch = lambda kernel, programs, *a, **options: found.append(
        Launch(kernel, a, options)
    )
    try:
        compute(*arguments)
    finally:
        runtime.launch = before
    return found


def compile_for(launch, capability):
    """The machine code of a launch, specialised to its arguments as Triton does."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = launch.kernel.arg_names
    given = dict(zip(names, launch.arguments, strict=False))
    given |= {name: value for name, value in launch.options.items() if name in names}
    constants = {names[p.num] for p in launch.kernel.params if p.is_constexpr}
    general = {names[p.num] for p in launch.kernel.params if p.do_not_specialize}
    signature, constexprs, attributes = {}, {}, {}
    for at, name in enumerate(names):
        value = given[name]
        special = type(value) is int and name not in general
        if name in constants or value is None or (special and value == 1):
            signature[name], constexprs[(at,)] = "constexpr", value
            continue
        signature[name] = _type(value)
        if isinstance(value, torch.Tensor) or (special and value % 16 == 0):
            attributes[(at,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constexprs, attributes)
    options = {name: value for name, value in launch.options.items() if name in OPTIONS}
    compiled = triton.compile(source, GPUTarget("cuda", capability, 32), options)
    return _read(compiled, Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump")


def _type(value):
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    if isinstance(value, bool):
        return "i1"
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(1 << 31) <= value < 1 << 31 else "i64"


def _read(compiled, cuobjdump):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run(
                [cuobjdump, option, file.name], capture_output=True, text=True, check=True
            ).stdout
            for option in ("--dump-resource-usage", "--dump-sass")
        )
    registers, _, spilled = re.search(
        r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage
    ).groups()
    loads = re.findall(r"\b(?:LDG|LDGSTS)[\w.]*", code)
    wide = [load for load in loads if ".128" in load] + re.findall(r"\bUTMALDG\b", code)
    local = len(re.findall(r"\b(?:LDL|STL)\b", code))
    return Machine(
        int(registers), int(spilled) or local, compiled.metadata.shared,
        sum(len(re.findall(rf"\b{name}\b", code)) for name in MATRIX), len(wide), len(loads),
    )  # fmt: skip
