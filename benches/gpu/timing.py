"""Times on the device: medians over rounds in which all participants take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

Step = Callable[[], object]


def once(step: Step, repeats: int) -> float:
    """Seconds a call, of `repeats` calls one after another on the device."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        return (time.perf_counter() - start) / repeats
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / repeats


def medians(steps: dict[str, Step], rounds: int, seconds: float) -> dict[str, float]:
    """Median seconds a call of each step; every round times each of them once.

    The first call of each, in which kernels are compiled and memory is taken, does not
    count. A round spends about `seconds` on every step.
    """
    repeats = {}
    for name, step in steps.items():
        once(step, 2)
        repeats[name] = max(1, min(1000, int(seconds / max(once(step, 2), 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(once(step, repeats[name]))
    return {name: statistics.median(of) for name, of in times.items()}


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large matrix product of random numbers."""
    size = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = medians({"product": lambda: a @ b}, rounds=5, seconds=0.05)["product"]
    return 2.0 * size**3 / seconds


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy."""
    count = (1 << 30) if device.type == "cuda" else 1 << 20
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    seconds = medians({"copy": lambda: target.copy_(source)}, rounds=5, seconds=0.05)["copy"]
    return 2.0 * 4 * count / seconds


def exponential_rate(device: torch.device) -> float:
    """Exponentials a second in a kernel that does little else."""
    chain, count = 64, (1 << 24) if device.type == "cuda" else 1 << 12

    @torch.compile(dynamic=False)
    def kernel(x: torch.Tensor) -> torch.Tensor:
        for _ in range(chain):
            x = torch.exp2(-x)
        return x

    x = torch.rand(count, device=device)
    seconds = medians({"exp2": lambda: kernel(x)}, rounds=5, seconds=0.05)["exp2"]
    return chain * count / seconds


def peak_memory(step: Step) -> int:
    """Bytes that PyTorch takes at most during a call, beyond what it held before."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
