"""Eight float64 numbers side by side, as a type of compiled code: what LLVM calls <8 x double>.

The loops of `sweep` and `rows` are written with it, so that they do not depend on what the compiler's own vectorizer
makes of them. LLVM maps the eight lanes to two AVX2 registers, one of AVX-512, or four of SSE2 or NEON. An addition
may be fused with the product before it; otherwise the operations are IEEE's, in the order written.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

WIDTH = 8
_NUMBER = ir.DoubleType()
_VECTOR = ir.VectorType(_NUMBER, WIDTH)
_INT32 = ir.IntType(32)


class Lanes(types.Type):
    """The type of eight lanes; a value lives in registers and never in Python."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _constant(x: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [x] * WIDTH)


def _shuffle(builder: Any, value: Any, source: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_INT32, WIDTH), source)
    return builder.shuffle_vector(value, ir.Constant(_VECTOR, ir.Undefined), mask)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, target: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index], inbounds=True), target.as_pointer())


def _declared(builder: Any, name: str, kind: Any) -> Any:
    """Return the module's declaration of a function, made if need be."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def _function(builder: Any, name: str, *operands: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * len(operands))
    return builder.call(_declared(builder, f"llvm.{name}.v{WIDTH}f64", kind), operands)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return array[index : index + 8] of a contiguous float64 array; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], args[0], args[1], _VECTOR), align=8)

    return _LANES(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Set array[index : index + 8] = value; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, signature.args[0], args[0], args[1], _VECTOR), align=8)
        return context.get_dummy_value()

    return types.none(array, types.intp, _LANES), generate


@intrinsic
def word(typing: Any, array: Any, index: Any) -> Any:
    """Return eight bytes of an array of bytes as one integer, the first one lowest (on a little-endian machine)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], args[0], args[1], ir.IntType(64)), align=1)

    return types.uint64(array, types.intp), generate


@intrinsic
def set_word(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Set eight bytes of an array of bytes, as `word` returns them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1], ir.IntType(64))
        builder.store(args[2], address, align=1)
        return context.get_dummy_value()

    return types.none(array, types.intp, types.uint64), generate


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of array[index], flat if it has more axes: it is read soon."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1], ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [address.type, _INT32, _INT32, _INT32])
        builder.call(
            _declared(builder, "llvm.prefetch.p0", kind), [address, _INT32(0), _INT32(3), _INT32(1)]
        )  # to read, into all levels, data
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic
def splat(typing: Any, x: Any) -> Any:
    """Return x in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[0], _INT32(0))
        return _shuffle(builder, first, [0] * WIDTH)

    return _LANES(types.float64), generate


@intrinsic
def total(typing: Any, a: Any) -> Any:
    """Return the sum of the lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], WIDTH
        while width > 1:
            width //= 2
            value = builder.fadd(value, _shuffle(builder, value, [(i + width) % WIDTH for i in range(WIDTH)]))
        return builder.extract_element(value, _INT32(0))

    return types.float64(_LANES), generate


@intrinsic
def soft(typing: Any, a: Any, t: Any) -> Any:
    """Return sign(a) max(|a| - t, 0), for t >= 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, t = args
        near = builder.select(builder.fcmp_ordered("<", x, t), x, t)  # x between -t and t
        least = builder.fneg(t)
        near = builder.select(builder.fcmp_ordered(">", near, least), near, least)
        return builder.fsub(x, near)

    return _LANES(_LANES, _LANES), generate


@intrinsic
def shrinkage(typing: Any, norm: Any, t: Any) -> Any:
    """Return (norm - t) / norm where norm > t, else 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        norm, t = args
        above = builder.fcmp_ordered(">", norm, t)
        return builder.select(above, builder.fdiv(builder.fsub(norm, t), norm), _constant(0.0))

    return _LANES(_LANES, _LANES), generate


@intrinsic
def sqrt(typing: Any, a: Any) -> Any:
    """Return the square root of every lane."""
    return _LANES(_LANES), lambda context, builder, signature, args: _function(builder, "sqrt", args[0])


def _bits(builder: Any, condition: Any) -> Any:
    return builder.zext(builder.bitcast(condition, ir.IntType(WIDTH)), ir.IntType(64))


@intrinsic
def above(typing: Any, a: Any, b: Any) -> Any:
    """Return an integer whose bit l says whether a > b in lane l."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _bits(builder, builder.fcmp_ordered(">", *args))

    return types.int64(_LANES, _LANES), generate


@intrinsic
def nonzero(typing: Any, a: Any) -> Any:
    """Return an integer whose bit l says whether a != 0 in lane l."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _bits(builder, builder.fcmp_unordered("!=", args[0], _constant(0.0)))

    return types.int64(_LANES), generate


@intrinsic
def either(typing: Any, a: Any, b: Any) -> Any:
    """Return lanes that are zero exactly where a and b are (the or of their bits)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integers = ir.VectorType(ir.IntType(64), WIDTH)
        left, right = (builder.bitcast(x, integers) for x in args)
        return builder.bitcast(builder.or_(left, right), _VECTOR)

    return _LANES(_LANES, _LANES), generate


def _operator(symbol: Callable[[Any, Any], Any], instruction: str) -> None:
    @type_callable(symbol)
    def _type(context: Any) -> Any:
        return lambda a, b: _LANES if isinstance(a, Lanes) and isinstance(b, Lanes) else None

    @lower_builtin(symbol, Lanes, Lanes)
    def _lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=("contract",))


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
