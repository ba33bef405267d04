"""The CUDA half of the JAX binding, as far as it goes without a GPU.

The handlers are called as XLA calls them, over a stand-in for the library; and programs
are lowered for CUDA, as they would be where there is one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, absent, run
from jax_problems import SHIM, C, D, N, equal, jax, jax_build, loss, make_batches, ssj
from sampled_softmax import _abi
from sampled_softmax.jax import _calls, _shim

SOURCES = ROOT / "tests" / "c"

SAID = """\
sample command buffer 0
sample_on_device command buffer 1
forward command buffer 1
backward command buffer 1
forward_backward command buffer 1
create backend 1 device 3 threads 0 seed 77
cuStreamGetCtx 0x5eed
cuCtxPushCurrent 1
cuMemcpyDtoHAsync 8 0x5eed
cuStreamSynchronize 0x5eed
cuCtxPopCurrent
sample labels 1 step 0x123456789 pointer 0 stream 1
ok
create backend 1 device 3 threads 0 seed 77
sample labels 1 step 0 pointer 1 stream 1
ok
forward workspace 1 640 stream 1
pointers 1
ok
backward workspace 1 640 stream 1
pointers 1
ok
d_weights does not alias its operand of zeros
forward_backward workspace 1 640 stream 1
the device is gone [status 4002]
config has 3 fields; 13 are needed: the program is of another version of sampled_softmax.jax
loss has shape (4); (3) is needed
argument 1: Index out of range
"""


def test_handlers_hand_on_what_xla_gives_them(tmp_path: Path) -> None:
    """And read a step back in the stream's own context, unless the device reads it, and
    create one handle for each configuration."""
    for compiler in ("cc", "c++"):
        if shutil.which(compiler) is None:
            absent(f"no compiler {compiler}")
    driver, program = tmp_path / "libcuda.so.1", tmp_path / "handlers"
    run(["cc", "-shared", "-fPIC", "-o", driver, SOURCES / "fake_driver.c"])
    includes = ["-I", ROOT / "include", "-isystem", jax_build.xla_include()]
    flags = ["-std=c++17", "-rdynamic", "-Wall", "-Wextra", "-Werror", *includes]
    run(["c++", *flags, "-o", program, SOURCES / "jax_cuda_handlers.cc", "-ldl"])
    assert run([program, SHIM], env={"LD_LIBRARY_PATH": str(tmp_path)}) == SAID


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A process that believes in a GPU, up to the point of running anything on it.

    Returns the (backend, device) of the handles that were asked for.
    """
    asked = []

    def prepare(fields: Any, unigrams: str, backend: int = 0, device: int = 0, batch: Any = None) -> int:
        asked.append((backend, device))
        if backend == _abi.SSL_BACKEND_CUDA:
            return 4096 + batch.num_rows if batch is not None else 0
        return real(fields, unigrams, backend, device, batch)

    real = _shim.prepare
    monkeypatch.setattr(_shim, "prepare", prepare)
    monkeypatch.setattr(_calls, "cuda_devices", lambda: (0, 1))
    jax.clear_caches()
    yield asked
    jax.clear_caches()


def lowered(function: Any, *args: Any) -> str:
    names = ("sample", "forward", "backward", "forward_backward")
    checks = [jax.export.DisabledSafetyCheck.custom_call(_shim.target(name)) for name in names]
    return jax.export.export(jax.jit(function), platforms=["cuda"], disabled_checks=checks)(*args).mlir_module()


def test_programs_for_cuda_bring_their_workspace(with_gpu: list[tuple[int, int]]) -> None:
    weights, biases, labels, inputs = make_batches(1)
    text = lowered(lambda w, x: loss(w, biases, labels[0], x), weights, inputs[0])
    forward = next(line for line in text.splitlines() if "@sampled_softmax_forward(" in line)
    assert f"tensor<{4096 + N}xui8>" in forward
    assert {(_abi.SSL_BACKEND_CUDA, 0), (_abi.SSL_BACKEND_CUDA, 1)} <= set(with_gpu)


def test_sparse_gradients_on_cuda_start_as_zeros(with_gpu: list[tuple[int, int]]) -> None:
    weights, biases, labels, inputs = make_batches(1)

    def both(weights: Any, inputs: Any) -> Any:
        return ssj.value_and_grad(weights, biases, labels[0], inputs, 16, C, seed=1, step=2)

    text = lowered(both, weights, inputs[0])
    call = next(line for line in text.splitlines() if "@sampled_softmax_forward_backward(" in line)
    assert call.count("output_operand_alias<") == 2
    assert f"tensor<24x{D}xf32>" in call


def test_on_the_cpu_of_such_a_process_results_are_the_same(with_gpu: list[tuple[int, int]]) -> None:
    weights, biases, labels, inputs = make_batches(1)

    def both(weights: Any, inputs: Any) -> Any:
        return ssj.value_and_grad(weights, biases, labels[0], inputs, 16, C, seed=1, step=2)

    ours = jax.jit(both)(weights, inputs[0])
    gradient = jax.grad(lambda w: loss(w, biases, labels[0], inputs[0]).sum())(weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_calls, "cuda_devices", lambda: ())
        jax.clear_caches()
        jax.tree.map(equal, ours, jax.jit(both)(weights, inputs[0]))
        equal(gradient, jax.grad(lambda w: loss(w, biases, labels[0], inputs[0]).sum())(weights))


def test_a_gpu_that_the_library_cannot_use_is_no_device() -> None:
    if any(device.platform != "cpu" for device in jax.devices()):
        absent("this machine has a GPU")
    assert _calls.cuda_devices() == ()
