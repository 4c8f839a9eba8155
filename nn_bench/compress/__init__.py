"""Zero groups taken out of a network: a smaller one with the same outputs, saved and loaded without pickling."""

from nn_bench.compress.report import Report, report
from nn_bench.compress.smaller import Compression, compress, compression, load_compressed
from nn_bench.compress.verify import CompressionError

__all__ = ["Compression", "CompressionError", "Report", "compress", "compression", "load_compressed", "report"]
