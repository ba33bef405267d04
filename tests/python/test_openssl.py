"""An engine that also speaks TLS: OpenSSL's header and ours in one file.

OpenSSL has the names SSL_* too. Both orders are tried, because compilers report a
redefined macro only where the second definition is outside a system header.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, absent
from toolchain import SOURCES, Dialect, compile_only, dialects

UNPACKED = ROOT / "build" / "openssl"


@pytest.mark.parametrize("order", ["-DOPENSSL_FIRST", "-DOPENSSL_LAST"])
@pytest.mark.parametrize("dialect", dialects("c11", "c17", "c++11", "c++17"), ids=str)
def test_header_goes_with_openssl(dialect: Dialect, order: str, openssl_flags: list[str]) -> None:
    compile_only(dialect, SOURCES / "openssl.c", order, *openssl_flags)


@pytest.fixture(scope="module")
def openssl_flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags that find OpenSSL's headers: the system's, or Debian's package unpacked in build/."""
    probe = tmp_path_factory.mktemp("openssl") / "probe.c"
    probe.write_text("#include <openssl/ssl.h>\n")
    if _succeeds(["cc", "-fsyntax-only", probe]):
        return []
    if not _include_flags():
        _unpack_libssl_dev()
    flags = _include_flags()
    if not flags or not _succeeds(["cc", *flags, "-fsyntax-only", probe]):
        absent("OpenSSL's headers are neither installed nor to be had with apt-get download")
    return flags


def _unpack_libssl_dev() -> None:
    UNPACKED.mkdir(parents=True, exist_ok=True)
    _succeeds(["apt-get", "download", "libssl-dev"], cwd=UNPACKED)
    for package in UNPACKED.glob("libssl-dev*.deb"):
        _succeeds(["dpkg", "-x", package, UNPACKED])


def _include_flags() -> list[str]:
    """Debian keeps opensslconf.h in a folder of the architecture's own."""
    include = UNPACKED / "usr" / "include"
    if not (include / "openssl" / "ssl.h").is_file():
        return []
    return [f"-isystem{folder}" for folder in (include, *include.glob("*-linux-gnu*"))]


def _succeeds(command: list[str | os.PathLike[str]], cwd: Path | None = None) -> bool:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=120, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
