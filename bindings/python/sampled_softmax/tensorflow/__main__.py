"""``python -m sampled_softmax.tensorflow build``: compiles the ops now and says where."""

from __future__ import annotations

import sys

from .._compile import command
from . import build

if __name__ == "__main__":
    sys.exit(command("tensorflow", build))
