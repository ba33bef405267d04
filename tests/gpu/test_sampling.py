"""The handle's sampler: the CPU engine's ids and counts, on the device and in graphs."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_void_p

import pytest
import torch
from comparison import assert_close
from device import Graph, Stream, synchronize
from engine import Call, Engine, check
from problem import Problem
from sampled_softmax import _abi
from sampled_softmax._library import LIBRARY

SAMPLERS = {
    "uniform": _abi.SSL_SAMPLER_UNIFORM,
    "log_uniform": _abi.SSL_SAMPLER_LOG_UNIFORM,
    "fixed_unigram": _abi.SSL_SAMPLER_FIXED_UNIGRAM,
    "learned_unigram": _abi.SSL_SAMPLER_LEARNED_UNIGRAM,
}
WEIGHTS = (ctypes.c_double * 400)(*(1.0 + (k * 37 % 101) for k in range(400)))


def settings(sampler: str, hits: int = _abi.SSL_HITS_MASK) -> dict[str, object]:
    fields: dict[str, object] = {"sampler": SAMPLERS[sampler], "seed": 11, "rank": 2, "hits": hits}
    if sampler == "fixed_unigram":
        fields |= {"unigrams": ctypes.addressof(WEIGHTS), "num_unigrams": len(WEIGHTS)}
    return fields


def drawn_on_cpu(problem: Problem, step: int, fields: dict[str, object]) -> dict[str, torch.Tensor]:
    """What a CPU handle draws for the problem's labels."""
    handle = c_void_p()
    config = _abi.ssl_config(
        num_classes=problem.classes, num_sampled=problem.sampled, num_true=problem.num_true, **fields
    )
    check(LIBRARY.ssl_create(byref(config), byref(handle)))
    labels = problem.tensors["labels"].contiguous()
    out = {
        "ids": torch.empty(problem.sampled, dtype=torch.int64),
        "sampled_expected_count": torch.empty(problem.sampled),
        "true_expected_count": torch.empty(problem.rows, problem.num_true),
    }
    batch = _abi.ssl_batch(num_rows=problem.rows, labels=labels.data_ptr())
    candidates = _abi.ssl_candidates(step=step, **{name: tensor.data_ptr() for name, tensor in out.items()})
    check(LIBRARY.ssl_sample(handle, byref(batch), byref(candidates), None))
    check(LIBRARY.ssl_destroy(handle))
    return out


def with_candidates(problem: Problem, drawn: dict[str, torch.Tensor]) -> Problem:
    """The same problem with these candidates; it shares nothing that is written."""
    other = Problem(**{name: value for name, value in vars(problem).items() if name != "tensors"})
    other.tensors = problem.tensors | drawn
    return other


@pytest.mark.parametrize("hits", [_abi.SSL_HITS_MASK, _abi.SSL_HITS_EXCLUDE])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_what_the_cpu_engine_draws(sampler: str, hits: int) -> None:
    problem = Problem(20, 32, 400, 60, num_true=2, seed=3)
    stream = Stream()
    with Engine(problem, **settings(sampler, hits)) as engine:
        # In order, skipping, and back again: foreseen or not.
        for step in (5, 6, 7, 100, 6):
            call = Call(engine, problem, stream, draw=True, step=step)
            call.queue_forward_backward()
            results = call.results()
            if sampler == "learned_unigram" and step != 5:
                continue  # its draws also follow from the labels of those before
            drawn = drawn_on_cpu(problem, step, settings(sampler, hits))
            assert torch.equal(results["ids"], drawn["ids"]), step
            for name in ("sampled_expected_count", "true_expected_count"):
                torch.testing.assert_close(call.device[name].cpu(), drawn[name], rtol=2e-7, atol=0)
            assert_close(results, with_candidates(problem, drawn).solve(), "bf16x3")


@pytest.mark.parametrize("hits", [_abi.SSL_HITS_MASK, _abi.SSL_HITS_EXCLUDE])
def test_every_replay_of_a_graph_draws_anew(hits: int) -> None:
    problem = Problem(20, 48, 400, 60, seed=4)
    stream = Stream()
    with Engine(problem, **settings("log_uniform", hits)) as engine:
        call = Call(engine, problem, stream, draw=True, step=30)
        call.queue_forward_backward()
        call.results()
        graph = Graph(stream, call.queue_forward_backward)
        for replay in range(4):
            graph.replay()
            drawn = drawn_on_cpu(problem, 30 + replay, settings("log_uniform", hits))
            results = call.results()
            assert torch.equal(results["ids"], drawn["ids"]), replay
            assert_close(results, with_candidates(problem, drawn).solve(), "bf16x3")
        del graph


@pytest.mark.parametrize("dim", [48, 320])
def test_graph_with_given_candidates(dim: int) -> None:
    problem = Problem(40, dim, 300, 90, reduction="mean", seed=5)
    stream = Stream()
    with Engine(problem) as engine:
        call = Call(engine, problem, stream)

        def step() -> None:
            call.queue_forward()
            call.queue_backward()

        step()
        first = call.results()
        graph = Graph(stream, step)
        call.device["inputs"].mul_(0.5)
        synchronize()
        graph.replay()
        changed = call.results()
        problem.tensors["inputs"] = problem.tensors["inputs"] * 0.5
        assert_close(changed, problem.solve(), "bf16x3")
        assert not torch.equal(first["loss"], changed["loss"])


def test_first_call_of_a_shape_inside_a_capture_is_refused() -> None:
    problem = Problem(40, 112, 300, 90, inputs_dtype="float16", weights_dtype="float16", seed=6)
    stream = Stream()
    refused = []
    with Engine(problem) as engine:
        call = Call(engine, problem, stream)

        def step() -> None:
            try:
                call.queue_forward()
            except RuntimeError as error:
                refused.append(error)

        graph = Graph(stream, step)
        assert refused[0].status == _abi.SSL_STATUS_GRAPH_CAPTURE
        del graph
        call.queue_forward()
        assert torch.isfinite(call.results()["loss"]).all()
