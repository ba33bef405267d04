"""examples/tensorflow trains on real text to the loss of TensorFlow's own function."""

from __future__ import annotations

import re
import sys

from adapters import compiled_environment
from conftest import ROOT, run
from peers import import_tensorflow


def test_skip_gram_reaches_the_loss_of_tensorflows_function() -> None:
    import_tensorflow()
    compiled_environment()
    command = [sys.executable, "-m", "examples.tensorflow.skip_gram", "--steps", "100", "--max-files", "200"]
    printed = run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "bindings" / "python")}, timeout=300)
    runs = re.findall(r"loss (\S+) -> (\S+)  in", printed)
    assert len(runs) == 2
    assert all(float(end) < 0.9 * float(start) for start, end in runs)
    found = re.search(r"differ by (\S+) at most, at the end by (\S+)", printed)
    assert found is not None
    assert float(found[1]) <= 1e-4
    assert float(found[2]) <= 1e-4
