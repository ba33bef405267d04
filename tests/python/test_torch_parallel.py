"""Data-parallel training: each worker draws its own candidates from a seed they share."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

from problems import make_problem
from torch_problems import Leaves, sst, torch

WORKERS = 2


def work(rank: int, store: Path, results: Any) -> None:
    """One worker: two steps under DistributedDataParallel; what it drew and came to."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORKERS)
    problem = make_problem(num_classes=500)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.from_numpy(problem.weights))
            self.loss = sst.SampledSoftmaxLoss(20, 500, seed=4, reduction="mean")

        def forward(self, labels: Any, inputs: Any) -> Any:
            return self.loss(self.weights, None, labels, inputs)

    model = torch.nn.parallel.DistributedDataParallel(Model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(torch.from_numpy(problem.labels), torch.from_numpy(problem.inputs))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    candidates = sst.uniform_candidate_sampler(torch.from_numpy(problem.labels), 1, 20, True, 500, seed=4)[0]
    own = sst.Sampler("uniform", 500, 20, seed=4).sample()[0]
    results.put((rank, losses, model.module.weights.detach().numpy(), candidates.tolist(), own.tolist()))
    dist.destroy_process_group()


def test_workers_draw_apart_and_stay_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=work, args=(rank, tmp_path / "store", results)) for rank in range(WORKERS)]
    for worker in workers:
        worker.start()
    (_, losses0, weights0, ids0, own0), (_, losses1, weights1, ids1, own1) = sorted(
        (results.get(timeout=120) for _ in workers), key=lambda result: result[0]
    )
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    # The same batch on both: only the candidates can tell their losses apart.
    assert losses0[0] != losses1[0]
    assert (weights0 == weights1).all()
    assert ids0 != ids1 and own0 == ids0 and own1 == ids1


def test_rank_of_the_call_is_the_rank_of_the_draw() -> None:
    leaves = Leaves(make_problem(num_classes=500))
    draws = [leaves.loss(sampler="uniform", seed=1, rank=rank, reduction="mean").item() for rank in (0, 1, None)]
    assert draws[0] == draws[2] != draws[1]
