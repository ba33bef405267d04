"""`python3 -m benches.gpu [--rounds N] [--seconds S] [--shapes a1,c2] [--out FOLDER] [--smoke]`

For every shape and type: the time of forward, backward and forward_backward through the C
ABI, of PyTorch eager, torch.compile and a chunked cuBLAS form on the same candidates, of
Cut Cross-Entropy and Liger on gathered rows and over all classes, as medians of interleaved
rounds; for t1 and t2 also of forward_backward that moves the weights by row-wise Adagrad;
the floor from the matrix rate, the copy bandwidth and the rate of exponentials measured in
the same run; the peak extra memory. Prints a table and writes gpu.json and
gpu.png; who is absent is named there with the reason. `--smoke` runs two tiny shapes on the
emulated device and writes nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path
from typing import Any

import torch
from device import EMULATED, TORCH, compute_capability, driver_version

from . import ROOT, fused
from .ours import DTYPES, VARIANTS, Ours, problem_of
from .peers import Given, participants
from .report import plot, print_table
from .shapes import SHAPES, SMOKE, Shape
from .timing import copy_bandwidth, exponential_rate, matrix_rate, medians, peak_memory


def machine() -> dict[str, Any]:
    """What the figures were taken on, with its measured ceilings."""
    rates = {"bf16": matrix_rate(torch.bfloat16, TORCH), "f32": matrix_rate(torch.float32, TORCH)}
    return {
        "device": "emulated" if EMULATED else torch.cuda.get_device_name(),
        "compute_capability": compute_capability(),
        "driver": driver_version(),
        "torch": torch.__version__,
        "matrix_operations_per_second": rates,
        "copy_bytes_per_second": copy_bandwidth(TORCH),
        "exponentials_per_second": exponential_rate(TORCH),
    }


def floor(shape: Shape, dtype: str, ceilings: dict[str, Any]) -> float:
    """Seconds below which no form of the step can be: 6 N S d at the tensor cores' bf16
    rate (three times that for float32 by bf16 halves), the bytes, or an exponential a logit."""
    products = 1 if dtype == "bf16" else 3
    arithmetic = products * shape.operations / ceilings["matrix_operations_per_second"]["bf16"]
    moving = shape.compulsory_bytes(2 if dtype == "bf16" else 4) / ceilings["copy_bytes_per_second"]
    return max(arithmetic, moving, shape.exponentials / ceilings["exponentials_per_second"])


def measure(shape: Shape, dtype: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds and bytes of everybody on one shape."""
    problem = problem_of(shape, dtype)
    variants = VARIANTS[dtype]
    ours = {
        variant: Ours(problem, variant, updated=shape.updated and variant in ("default", "hopper"))
        for variant in variants
    }
    names = {variant: "ours" if variant == "default" else f"ours {variant}" for variant in variants}
    steps = {f"{names[p]} {kind}": step for p in variants for kind, step in ours[p].steps.items()}
    memory = {names[p]: ours[p].extra_memory() for p in variants}

    given = Given(ours["default"].call.device)
    for name, (forward, both) in participants(given).items():
        both()
        memory[name] = peak_memory(both)
        steps[f"{name} forward_backward"] = both
        if forward is not None:
            steps[f"{name} forward"] = forward
    others, absent = fused.participants(given, exact=shape.exact)
    for name, step in others.items():
        if reason := fused.failure(step):
            absent[name] = reason
            continue
        memory[name] = peak_memory(step)
        steps[f"{name} forward_backward"] = step
    seconds = medians(steps, arguments.rounds, arguments.seconds)
    for one in ours.values():
        one.close()
    rates = {name: shape.operations / time for name, time in seconds.items() if name.endswith("forward_backward")}
    return {
        "shape": vars(shape),
        "dtype": dtype,
        "seconds": seconds,
        "operations_per_second": rates,
        "extra_bytes": memory,
        "absent": absent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benches.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.05, help="spent on one participant in one round")
    parser.add_argument("--shapes", default="", help="names, separated by commas; all without it")
    parser.add_argument("--out", type=Path, default=ROOT / "benches" / "results")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()

    chosen = SMOKE if arguments.smoke else SHAPES
    if arguments.shapes:
        wanted = arguments.shapes.split(",")
        unknown = set(wanted) - {shape.name for shape in chosen}
        if unknown:
            parser.error(f"--shapes: {', '.join(sorted(unknown))} is none of {', '.join(s.name for s in chosen)}")
        chosen = [shape for shape in chosen if shape.name in wanted]
    # float32 peers by their own default, plain float32; ours names its precision.
    torch.backends.cuda.matmul.allow_tf32 = False

    ceilings = machine()
    rows = []
    for shape in chosen:
        for dtype in DTYPES:
            row = measure(shape, dtype, arguments)
            row["floor_seconds"] = floor(shape, dtype, ceilings)
            rows.append(row)
            print_table([row], ceilings, header=len(rows) == 1)
            gc.collect()
            if not EMULATED:
                torch.cuda.empty_cache()
    if arguments.smoke:
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": ceilings, "rows": rows}, indent=1)
    (arguments.out / "gpu.json").write_text(text + "\n")
    plot(rows, ceilings, arguments.out / "gpu.png")


if __name__ == "__main__":
    main()
