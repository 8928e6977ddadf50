"""Kernels of our own for what comes after a network on a GPU; the CPU code is their reference."""
