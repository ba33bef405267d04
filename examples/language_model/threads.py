"""As many threads for every part of the run: the library, BLAS and the full softmax."""

import os
from concurrent.futures import ThreadPoolExecutor

# Loaded first: what threadpoolctl looks for are the libraries already there.
import numpy as np  # noqa: F401
from threadpoolctl import ThreadpoolController  # the one way to set BLAS's threads at run time

_controller = ThreadpoolController()


def num_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas_threads(count: int):
    """Has each BLAS call use `count` threads: from now on, or as a context."""
    return _controller.limit(limits=count, user_api="blas")


def run_in_parallel(function, items) -> list:
    """`function` of each item in order, on all threads; the BLAS calls in it stay on the
    thread that makes them."""
    with blas_threads(1):
        return list(_pool.map(function, items))


def use(count: int):
    """Sets the threads of BLAS and of `run_in_parallel`."""
    global _pool
    blas_threads(count)
    _pool = ThreadPoolExecutor(count)


def describe_blas() -> str:
    """Name, version, kernels and threads of NumPy's BLAS."""
    return ", ".join(
        f"{library['internal_api']} {library['version']} with {library.get('architecture', 'unknown')} kernels"
        for library in _controller.info()
        if library["user_api"] == "blas"
    )


_pool = ThreadPoolExecutor(num_cores())
