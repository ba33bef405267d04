"""Random losses to compute, and what they come to in float64 by PyTorch's autograd."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Problem:
    """A loss over given candidates: N rows, C classes, S candidates, T labels a row."""

    rows: int
    dim: int
    classes: int
    sampled: int
    num_true: int = 1
    inputs_dtype: str = "float32"
    weights_dtype: str = "float32"
    biases_dtype: str | None = "float32"
    labels_dtype: torch.dtype = torch.int64
    counts_dtype: torch.dtype = torch.float32
    inputs_gap: int = 0
    weights_gap: int = 0
    mask_hits: bool = True
    reduction: str = "none"
    floor: float = 0.0
    ignore_index: int | None = None
    weighted: bool = False
    unique: bool = True
    scale: float = 1.0
    seed: int = 0
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator, dtype=torch.float64)

        spread = self.scale / self.dim**0.25
        inputs = normal(self.rows, self.dim + self.inputs_gap) * spread
        weights = normal(self.classes, self.dim + self.weights_gap) * spread
        labels = torch.randint(self.classes, (self.rows, self.num_true), generator=generator)
        if self.unique:
            ids = torch.randperm(self.classes, generator=generator)[: self.sampled]
        else:
            ids = torch.randint(self.classes, (self.sampled,), generator=generator)
        if self.rows and self.mask_hits:
            # Hits are rare where classes are many: make some.
            ids[: min(3, self.sampled)] = labels.flatten()[: min(3, self.sampled, labels.numel())]
            if self.unique:
                ids = torch.unique(ids)
                spare = torch.randperm(self.classes, generator=generator)
                spare = spare[~torch.isin(spare, ids)][: self.sampled - len(ids)]
                ids = torch.cat([ids, spare])[torch.randperm(self.sampled, generator=generator)]
        if self.ignore_index is not None:
            labels[:: max(2, self.rows // 3)] = self.ignore_index
        upstream = normal(self.rows if self.reduction == "none" else 1)
        self.tensors = {
            "inputs": inputs.to(DTYPES[self.inputs_dtype]),
            "weights": weights.to(DTYPES[self.weights_dtype]),
            "labels": labels.to(self.labels_dtype),
            "ids": ids,
            "sampled_expected_count": (0.05 + uniform(self.sampled)).to(self.counts_dtype),
            "true_expected_count": (0.05 + uniform(self.rows, self.num_true)).to(self.counts_dtype),
            "grad_output": upstream.to(torch.float32),
        }
        if self.biases_dtype:
            self.tensors["biases"] = normal(self.classes).to(DTYPES[self.biases_dtype])
        if self.weighted:
            weights_of_rows = uniform(self.rows)
            weights_of_rows[::4] = 0
            self.tensors["sample_weights"] = weights_of_rows.to(torch.float32)

    def solve(self) -> dict[str, torch.Tensor]:
        """loss, log_sum_exp, d_inputs, d_weights and d_biases in float64, on the host."""
        given = {name: tensor.to(torch.float64) for name, tensor in self.tensors.items() if tensor.is_floating_point()}
        inputs = given["inputs"][:, : self.dim].clone().requires_grad_()
        weights = given["weights"][:, : self.dim].clone().requires_grad_()
        biases = given.get("biases", torch.zeros(self.classes, dtype=torch.float64)).clone().requires_grad_()
        labels, ids = self.tensors["labels"].long(), self.tensors["ids"]
        live = torch.ones(self.rows, dtype=torch.bool)
        if self.ignore_index is not None:
            live = labels[:, 0] != self.ignore_index
        row_weights = given.get("sample_weights", torch.ones(self.rows, dtype=torch.float64)) * live
        labels = torch.where(live[:, None], labels, 0)

        def logits(classes: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            products = (
                (inputs[:, None] * weights[classes]).sum(-1) if classes.dim() == 2 else inputs @ weights[classes].T
            )
            return products + biases[classes] - counts.log()

        true_counts = torch.where(live[:, None], given["true_expected_count"], 1.0)
        true = logits(labels, true_counts)
        sampled = logits(ids, given["sampled_expected_count"])
        if self.mask_hits:
            hit = (labels[:, :, None] == ids).any(1)
            sampled = sampled.masked_fill(hit, -torch.inf)
        lse = torch.logsumexp(torch.cat([true, sampled], 1), 1)
        # Without a floor the difference itself, which loses nothing in exp and log.
        floored = -((true - lse[:, None]).exp() + self.floor).log().mean(1)
        losses = floored if self.floor else lse - true.mean(1)
        losses = torch.where(row_weights > 0, losses, 0.0) * row_weights
        loss = losses
        if self.reduction != "none":
            loss = losses.sum().reshape(1)
        if self.reduction == "mean":
            loss = loss / row_weights.sum() if row_weights.sum() else loss * 0
        (loss * given["grad_output"]).sum().backward()
        return {
            "loss": loss.detach(),
            "log_sum_exp": torch.where(row_weights > 0, lse, 0.0).detach(),
            "d_inputs": inputs.grad,
            "d_weights": weights.grad,
            "d_biases": biases.grad,
        }
