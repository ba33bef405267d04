"""The kernels for compute capability 9.0, which `SAMPLED_SOFTMAX_HOPPER=1` asks for: first the descriptors of their
operands, by products with the identity, then whole steps beside float64 and beside the other kernels."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path

import pytest
import torch
from comparison import arithmetic, assert_close
from device import EMULATED, TORCH, Stream, call, compute_capability
from engine import Call, Engine
from problem import Problem
from test_first import _compilers

ROOT = Path(__file__).resolve().parents[2]
SWITCH = "SAMPLED_SOFTMAX_HOPPER"

pytestmark = pytest.mark.skipif(compute_capability() != 90, reason="for compute capability 9.0 alone")

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
FORMS = ["BY_ROWS", "BY_COLUMNS"]


def compile_products(library: str) -> bytes:
    """Machine code of every product of tests/emu/multiply_tiles.cuh."""
    nvrtc = ctypes.CDLL(library)
    kernels = [f"MULTIPLY({t}, {n}, {form})" for t in DTYPES for n in (64, 128, 256) for form in FORMS]
    source = "\n".join(['#include "multiply_tiles.cuh"', *kernels]).encode()
    folders = [f"-I{ROOT / 'kernels'}".encode(), f"-I{ROOT / 'tests' / 'emu'}".encode()]
    options = [b"--gpu-architecture=sm_90a", b"--std=c++17", *folders]
    program, size = c_void_p(), c_size_t()
    assert nvrtc.nvrtcCreateProgram(byref(program), source, b"products.cu", 0, None, None) == 0
    code = nvrtc.nvrtcCompileProgram(program, len(options), (c_char_p * len(options))(*options))
    nvrtc.nvrtcGetProgramLogSize(program, byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert code == 0, log.value.decode()
    nvrtc.nvrtcGetCUBINSize(program, byref(size))
    image = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, image)
    return image.raw


@pytest.fixture(scope="module")
def products() -> c_void_p:
    """The module of all products."""
    if EMULATED:
        pytest.skip("the emulator's own are tests/emu/test_hopper.cpp")
    module, image = c_void_p(), compile_products(_compilers()[0])
    call("cuModuleLoadData", byref(module), image)
    return module


class Arguments(ctypes.Structure):
    """ProductOfTiles, from a multiple of 128 on."""

    _fields_ = [
        ("a", ctypes.c_uint8 * 128),
        ("b", ctypes.c_uint8 * 128),
        ("a_values", c_uint64),
        ("out", c_uint64),
        ("pad", ctypes.c_uint8 * 112),
    ]


def encode(map_at: int, matrix: torch.Tensor, box_rows: int) -> None:
    """A tensor map as src/backend/cuda/wgmma.rs makes it."""
    rows, cols = matrix.shape
    kind = {torch.float16: 6, torch.bfloat16: 9}[matrix.dtype]
    sizes, pitch = (c_uint64 * 2)(cols, rows), c_uint64(matrix.stride(0) * 2)
    box, steps = (c_uint * 2)(64, box_rows), (c_uint * 2)(1, 1)
    data = c_void_p(matrix.data_ptr())
    call("cuTensorMapEncodeTiled", c_void_p(map_at), kind, 2, data, sizes, byref(pitch), box, steps, 0, 3, 2, 0)


def multiply(module: c_void_p, name: str, a: torch.Tensor, b: torch.Tensor, columns: int) -> torch.Tensor:
    """What the kernel of this name makes of operands on the device."""
    by_rows = name.endswith("BY_ROWS")
    values, out = a[:, :32].float().contiguous(), torch.full((64, columns), torch.nan, device=TORCH)
    room = ctypes.create_string_buffer(ctypes.sizeof(Arguments) + 128)
    at = -(-ctypes.addressof(room) // 128) * 128
    encode(at, a, 64)
    encode(at + 128, b, columns if by_rows else 32)
    arguments = Arguments.from_address(at)
    arguments.a_values, arguments.out = values.data_ptr(), out.data_ptr()
    function, stream = c_void_p(), Stream()
    call("cuModuleGetFunction", byref(function), module, name.encode())
    shared = 64 * 128 + (columns * 128 if by_rows else columns // 64 * 32 * 128) + 8
    parameters = (c_void_p * 1)(at)
    sizes = [c_uint(x) for x in (1, 1, 1, 128, 1, 1, shared)]
    call("cuLaunchKernel", function, *sizes, stream.handle, parameters, None)
    stream.synchronize()
    return out.cpu()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("columns", [64, 128, 256])
@pytest.mark.parametrize("kind", DTYPES)
def test_products_with_the_identity(products: c_void_p, kind: str, columns: int, form: str) -> None:
    shape = (columns, 64) if form == "BY_ROWS" else (32, columns)
    # Small whole numbers: another one in the place of each shows.
    b = (torch.arange(shape[0] * shape[1]).reshape(shape) * 37 % 251 - 125).to(DTYPES[kind]).to(TORCH)
    a = torch.eye(64, dtype=DTYPES[kind], device=TORCH)
    wanted = b.T if form == "BY_ROWS" else torch.cat([b, torch.zeros(32, columns, device=TORCH)])
    got = multiply(products, f"multiply_{kind}_{columns}_{form}", a, b, columns)
    assert torch.equal(got, wanted.float().cpu())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("columns", [64, 128, 256])
@pytest.mark.parametrize("kind", DTYPES)
def test_products_of_random_tiles(products: c_void_p, kind: str, columns: int, form: str) -> None:
    generator = torch.Generator().manual_seed(columns)
    shape = (columns, 64) if form == "BY_ROWS" else (32, columns)
    a = torch.randn((64, 64), generator=generator).to(DTYPES[kind]).to(TORCH)
    b = torch.randn(shape, generator=generator).to(DTYPES[kind]).to(TORCH)
    wanted = a.double() @ b.double().T if form == "BY_ROWS" else a[:, :32].double() @ b.double()
    got = multiply(products, f"multiply_{kind}_{columns}_{form}", a, b, columns)
    torch.testing.assert_close(got.double(), wanted.cpu(), rtol=0, atol=1e-4)


SMALL = [
    # rows, dim, classes, sampled, num_true
    (1, 1, 2, 1, 1),
    (33, 64, 300, 65, 1),
    (77, 128, 700, 530, 3),
    (40, 200, 256, 96, 1),
    (140, 256, 400, 300, 1),
    (50, 264, 700, 600, 2),
]
LARGE = [(8192, 64, 200_000, 1024, 2), (4096, 128, 100_000, 4096, 1), (1000, 256, 60_000, 3000, 1)]
LARGE += [(2560, 512, 50_000, 8192, 1), (64, 1024, 100_000, 8192, 1)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", SMALL if EMULATED else SMALL + LARGE, ids=str)
def test_steps_beside_float64_and_the_other_kernels(
    shape: tuple[int, ...], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(*shape, inputs_dtype=dtype, weights_dtype=dtype, seed=sum(shape))
    expected, used = problem.solve(), arithmetic(problem, "default")
    for switch in ("0", "1"):
        monkeypatch.setenv(SWITCH, switch)
        with Engine(problem) as engine:
            separate, fused = Call(engine, problem, Stream()), Call(engine, problem, Stream())
            separate.queue_forward()
            separate.queue_backward()
            fused.queue_forward_backward()
            for results in (separate.results(), fused.results()):
                assert int(results["device_status"]) == 0
                assert_close(results, expected, used)


def test_steps_repeat_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    rows = 200 if EMULATED else 5000
    problem = Problem(rows, 128, 3000, 600, inputs_dtype="bfloat16", weights_dtype="bfloat16", seed=4)
    runs = []
    with Engine(problem) as engine:
        for _ in range(2 if EMULATED else 20):
            one = Call(engine, problem, Stream())
            one.queue_forward_backward()
            runs.append(one.results())
    for name, value in runs[0].items():
        assert all(torch.equal(value, other[name]) for other in runs[1:]), name


def test_the_switch_is_0_or_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "on")
    with pytest.raises(RuntimeError, match="SAMPLED_SOFTMAX_HOPPER=on is neither 0 nor 1"):
        Engine(Problem(1, 8, 10, 2))
