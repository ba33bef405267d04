"""``python -m sampled_softmax.mindspore build``: compiles the operators now and says where."""

from __future__ import annotations

import sys

from .._compile import command
from . import build

if __name__ == "__main__":
    sys.exit(command("mindspore", build))
