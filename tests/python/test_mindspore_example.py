"""examples/mindspore trains on real text to the loss of MindSpore's own class."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from adapters import compiled_environment
from conftest import ROOT, run
from peers import import_mindspore


def test_next_word_reaches_the_loss_of_mindspores_class(tmp_path: Path) -> None:
    import_mindspore()
    compiled_environment()
    command = [sys.executable, "-m", "examples.mindspore.next_word", "--steps", "30", "--max-files", "200"]
    paths = os.pathsep.join((str(ROOT), str(ROOT / "bindings" / "python")))
    printed = run(command, cwd=tmp_path, env={"PYTHONPATH": paths}, timeout=300)
    runs = re.findall(r"loss (\S+) -> (\S+)  in", printed)
    assert len(runs) == 2
    assert all(float(end) < 0.9 * float(start) for start, end in runs)
    found = re.search(r"differ by (\S+) at most, at the end by (\S+)", printed)
    assert found is not None
    assert float(found[1]) <= 1e-4
    assert float(found[2]) <= 1e-4
