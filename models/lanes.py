"""Row operations of eight lanes for compiled loops, which numba's own loops do not come to.

Each is written in LLVM's vector types, element by element the same additions and multiplications as the plain
loop that it stands for, so it gives the same bits; nothing is contracted or reordered.
"""

# ruff: noqa: ARG001 - numba's protocol names arguments that only the generated code has
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

LANES = 8
_LINE = 64
_I32, _I64, _BYTE, _FLOAT = ir.IntType(32), ir.IntType(64), ir.IntType(8), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _pointer(context: Any, builder: Any, kind: Any, value: Any, *place: Any) -> Any:
    """The address of an array's element, its last indices left out being 0."""
    array = arrayobj.make_array(kind)(context, builder, value)
    strides = cgutils.unpack_tuple(builder, array.strides, kind.ndim)
    address = builder.bitcast(array.data, _BYTE.as_pointer())
    for index, stride in zip(place, strides, strict=False):
        address = builder.gep(address, [builder.mul(index, stride)])
    return address


def _load(builder: Any, address: Any, at: Any) -> Any:
    place = builder.bitcast(builder.gep(address, [at]), _VECTOR.as_pointer())
    loaded = builder.load(place)
    loaded.align = 4
    return loaded


def _relu(builder: Any, vector: Any) -> Any:
    """max(vector, 0); NaN stays, or a broken weight would hide in a finite score."""
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    return builder.select(builder.fcmp_unordered(">", vector, zero), vector, zero)


def _eights(builder: Any, width: Any) -> Any:
    """A loop over the byte offsets of eight floats each, up to `width` floats (a multiple of 8)."""
    return cgutils.for_range_slice(builder, _I64(0), builder.mul(width, _I64(4)), _I64(4 * LANES), _I64)


@intrinsic
def fetch_row(typingctx: Any, table: Any, row: Any) -> Any:
    """Has the processor fetch the first 512 bytes of table[row] while it does something else."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for line in range(8):
            builder.call(fetch, [builder.gep(address, [_I64(_LINE * line)]), _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(table, types.int64), generate


@intrinsic
def relu_of_sum(typingctx: Any, a: Any, i: Any, b: Any, j: Any, c: Any, k: Any, out: Any, t: Any) -> Any:
    """out[t] = max(a[i] + b[j] + c[k], 0), rows of float32 whose width is a multiple of 8."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, second, third, target = (
            _pointer(context, builder, signature.args[n], arguments[n], arguments[n + 1])
            for n in (0, 2, 4, 6)
        )
        shape = arrayobj.make_array(signature.args[6])(context, builder, arguments[6]).shape
        with _eights(builder, cgutils.unpack_tuple(builder, shape, 2)[1]) as (at, _):
            total = builder.fadd(_load(builder, first, at), _load(builder, second, at))
            total = _relu(builder, builder.fadd(total, _load(builder, third, at)))
            place = builder.bitcast(builder.gep(target, [at]), _VECTOR.as_pointer())
            builder.store(total, place).align = 4
        return context.get_dummy_value()

    one = types.int64
    return types.void(a, one, b, one, c, one, out, one), generate


@intrinsic
def relu_dot(typingctx: Any, x: Any, t: Any, bias: Any, weights: Any) -> Any:
    """The sum of weights * max(x[t] + bias, 0), float32, in eight sums that are then added in pairs."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        shift, scale = (_pointer(context, builder, signature.args[n], arguments[n]) for n in (2, 3))
        shape = arrayobj.make_array(signature.args[0])(context, builder, arguments[0]).shape
        sums = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
        with _eights(builder, cgutils.unpack_tuple(builder, shape, 2)[1]) as (at, _):
            active = _relu(builder, builder.fadd(_load(builder, row, at), _load(builder, shift, at)))
            product = builder.fmul(active, _load(builder, scale, at))
            builder.store(builder.fadd(builder.load(sums), product), sums)
        done = builder.load(sums)
        parts = [builder.extract_element(done, _I32(lane)) for lane in range(LANES)]
        while len(parts) > 1:
            parts = [builder.fadd(parts[n], parts[n + 1]) for n in range(0, len(parts), 2)]
        return parts[0]

    return types.float32(x, types.int64, bias, weights), generate
