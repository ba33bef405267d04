"""What is refused before anything is queued."""

from __future__ import annotations

import ctypes

import pytest
import torch
from device import EMULATED, Stream
from engine import Call, Engine, StatusError
from problem import Problem
from sampled_softmax import _abi


def refused(call: Call) -> StatusError:
    before = call.results()
    with pytest.raises(StatusError) as caught:
        call.queue_forward_backward()
    after = call.results()
    for name, value in before.items():
        assert torch.equal(torch.nan_to_num(value), torch.nan_to_num(after[name])), f"{name} was written"
    return caught.value


@pytest.mark.skipif(EMULATED, reason="the emulated device may read host memory, as Grace Hopper's may")
def test_host_pointer() -> None:
    problem = Problem(10, 16, 50, 20)
    host = torch.zeros(10, 16)
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream())
        call.batch.inputs = host.data_ptr()
        error = refused(call)
    assert error.status == _abi.SSL_STATUS_INVALID_VALUE
    assert "inputs" in str(error)


def test_float64() -> None:
    problem = Problem(10, 16, 50, 20)
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream())
        call.batch.inputs_dtype = call.batch.weights_dtype = call.batch.biases_dtype = _abi.SSL_DTYPE_FLOAT64
        error = refused(call)
    assert error.status == _abi.SSL_STATUS_DTYPE
    assert "float64" in str(error)


def test_small_workspace() -> None:
    problem = Problem(10, 16, 50, 20)
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream())
        call.workspace_sizes[1] -= 1
        assert refused(call).status == _abi.SSL_STATUS_WORKSPACE


def test_device_that_is_not_there() -> None:
    with pytest.raises(StatusError) as caught:
        Engine(Problem(10, 16, 50, 20), device=1000)
    assert caught.value.status == _abi.SSL_STATUS_INVALID_VALUE
    assert "1000" in str(caught.value)


def test_callers_context_is_left_alone() -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    before, after = ctypes.c_void_p(), ctypes.c_void_p()
    problem = Problem(10, 16, 50, 20)
    assert driver.cuCtxGetCurrent(ctypes.byref(before)) == 0
    with Engine(problem) as engine:
        call = Call(engine, problem, Stream())
        call.queue_forward_backward()
        call.results()
    assert driver.cuCtxGetCurrent(ctypes.byref(after)) == 0
    assert before.value == after.value
