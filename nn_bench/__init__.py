"""Testbed 2: neural networks, on CPU or GPU, trained with the same methods and tracked."""
