"""Puts the shared library into the wheel, and tags the wheel for its platform.

An editable install takes the library from ``target/release`` instead and needs none of
this. A wheel is for any Python 3, since the library is loaded with ctypes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE_TREE = Path(__file__).resolve().parents[2]


class SharedLibrary(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        library = Path(os.environ.get("SAMPLED_SOFTMAX_LIB") or self._build())
        if not library.is_file():
            raise FileNotFoundError(f"no shared library at {library}")
        build_data["force_include"][str(library)] = f"sampled_softmax/{self._file_name()}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def _build(self) -> Path:
        if not (SOURCE_TREE / "Cargo.toml").is_file():
            raise FileNotFoundError(
                f"{SOURCE_TREE} has no Cargo.toml: build the wheel in the source tree, or set "
                f"SAMPLED_SOFTMAX_LIB to a built library"
            )
        subprocess.run(["cargo", "build", "--release", "--lib"], cwd=SOURCE_TREE, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
        return SOURCE_TREE / target / "release" / self._file_name()

    @staticmethod
    def _file_name() -> str:
        if sys.platform == "win32":
            return "sampled_softmax.dll"
        return "libsampled_softmax." + ("dylib" if sys.platform == "darwin" else "so")
