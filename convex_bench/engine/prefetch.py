"""A hint to the processor to fetch what a loop is about to read, so that it need not wait for memory."""

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

from convex_bench.engine.compiled import compiled


@intrinsic
def prefetch(typingctx, array, i):
    """prefetch(array, i): start to load the cache line at which array[i] begins; no effect on any result."""

    def generate(context, builder, signature, arguments):
        kind, _ = signature.args
        view = context.make_array(kind)(context, builder, arguments[0])
        stride = builder.extract_value(view.strides, 0)
        index = context.cast(builder, arguments[1], signature.args[1], types.intp)
        byte = ir.IntType(8).as_pointer()
        pointer = builder.gep(builder.bitcast(view.data, byte), [builder.mul(index, stride)])
        number = ir.IntType(32)
        hint = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, hint, "llvm.prefetch.p0")
        builder.call(call, [pointer, number(0), number(3), number(1)])  # to read, keep in all caches, data
        return context.get_dummy_value()

    return types.void(array, i), generate


@compiled
def prefetch_rows(indices, indptr, rows, gof, entries, x, r):
    """Prefetch the records of the coordinates (x) and of the groups (r) that some rows of a CSR matrix touch."""
    for i in rows:
        for k in range(indptr[i], indptr[i + 1]):
            prefetch(x, indices[k])
            prefetch(r, indices[k] if entries else gof[indices[k]])


@compiled
def prefetch_entries(indices, indptr, rows, v):
    """Prefetch the entries of a vector that some rows of a CSR matrix touch."""
    for i in rows:
        for k in range(indptr[i], indptr[i + 1]):
            prefetch(v, indices[k])
