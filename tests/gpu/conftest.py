"""Puts the Python binding on the path and says once which device the tests run on."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bindings" / "python"))
sys.path.insert(0, str(HERE))


def pytest_report_header() -> str:
    import device

    where = "the emulated device" if device.EMULATED else device.torch.cuda.get_device_name()
    return f"on {where}, compute capability {device.compute_capability()}, driver {device.driver_version()}"
