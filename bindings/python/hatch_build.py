"""Puts the native parts into the wheel, and tags the wheel for its platform.

    sampled_softmax/libsampled_softmax.so       the library: SAMPLED_SOFTMAX_LIB, or built here
    sampled_softmax/libsampled_softmax_jax.so   the XLA handlers: SAMPLED_SOFTMAX_JAX_LIB, or built
                                                here where jaxlib's headers are
    sampled_softmax/LICENSE, THIRD_PARTY.txt    ours, and those of the crates in the library
    sampled_softmax/_native/                    header and sources of the adapters that are compiled
                                                on the user's machine

An editable install takes all of it from the source tree and needs none of this. A wheel
is for any Python 3, since the libraries are loaded with ctypes.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE_TREE = Path(__file__).resolve().parents[2]
BINDINGS = SOURCE_TREE / "bindings"
ADAPTERS = ("native", "tensorflow", "mindspore")


class NativeParts(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        if not (SOURCE_TREE / "Cargo.toml").is_file():
            raise FileNotFoundError(f"{SOURCE_TREE} has no Cargo.toml: build the wheel in the source tree")
        include = build_data["force_include"]
        include[str(self._library())] = f"sampled_softmax/{self._file_name()}"
        handlers = self._jax_handlers()
        if handlers is not None:
            include[str(handlers)] = f"sampled_softmax/{handlers.name}"
        include[str(SOURCE_TREE / "LICENSE")] = "sampled_softmax/LICENSE"
        include[str(self._notices())] = "sampled_softmax/THIRD_PARTY.txt"
        include[str(SOURCE_TREE / "include")] = "sampled_softmax/_native/include"
        for folder in ADAPTERS:
            include[str(BINDINGS / folder)] = f"sampled_softmax/_native/{folder}"
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def _library(self) -> Path:
        named = os.environ.get("SAMPLED_SOFTMAX_LIB")
        if named:
            library = Path(named)
        else:
            subprocess.run(["cargo", "build", "--release", "--locked", "--lib"], cwd=SOURCE_TREE, check=True)
            target = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
            library = SOURCE_TREE / target / "release" / self._file_name()
        if not library.is_file():
            raise FileNotFoundError(f"no shared library at {library}")
        return library

    def _notices(self) -> Path:
        file = Path(self.directory).resolve() / "THIRD_PARTY.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(SOURCE_TREE / "tests" / "third_party.py"), "--notices", file], check=True)
        return file

    def _jax_handlers(self) -> Path | None:
        named = os.environ.get("SAMPLED_SOFTMAX_JAX_LIB")
        if named:
            if not Path(named).is_file():
                raise FileNotFoundError(f"SAMPLED_SOFTMAX_JAX_LIB: there is no {named}")
            return Path(named)
        build = runpy.run_path(str(BINDINGS / "jax" / "build.py"))
        try:
            return build["build"](Path(self.directory).resolve() / "jax")
        except build["BuildError"] as error:
            self.app.display_warning(f"this wheel has no sampled_softmax.jax: {error}")
            return None

    @staticmethod
    def _file_name() -> str:
        if sys.platform == "win32":
            return "sampled_softmax.dll"
        return "libsampled_softmax." + ("dylib" if sys.platform == "darwin" else "so")
