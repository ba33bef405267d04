"""What every test in this folder may use: the built library, commands, and honest skips.

`from conftest import ROOT, absent, run` gives the plain functions; `library_path` and
`library_dir` are fixtures. The Python package is importable from the source tree.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
SONAME = "libsampled_softmax.so.0"
VERSION = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]

sys.path.insert(0, str(ROOT / "bindings" / "python"))


# What a complete run may do without: programs that only the system's packages bring, where there are none.
EXCUSED = os.environ.get("SAMPLED_SOFTMAX_NOT_INSTALLABLE", "").split()


def absent(reason: str, program: str = "") -> NoReturn:
    """Give up a test because the machine lacks something, and say so at the end.

    `SAMPLED_SOFTMAX_REQUIRE_ALL=1` makes it a failure: a run that must be complete
    cannot shrink unnoticed. `SAMPLED_SOFTMAX_NOT_INSTALLABLE` names programs whose absence
    is said and counted, and no failure all the same.
    """
    if program and program in EXCUSED:
        pytest.skip(f"{reason}, nor can it be here", allow_module_level=True)
    if os.environ.get("SAMPLED_SOFTMAX_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (SAMPLED_SOFTMAX_REQUIRE_ALL=1 allows no absence)", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def run(
    command: list[str | os.PathLike[str]],
    *,
    env: dict[str, str] | None = None,
    timeout: float = 120.0,
    cwd: Path | None = None,
) -> str:
    """Run `command`, return its standard output; a non-zero exit fails the test with both streams.

    `env` is added to this process's environment.
    """
    words = [os.fspath(word) for word in command]
    done = subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(
            f"exit status {done.returncode}: {' '.join(words)}\n{done.stdout}{done.stderr}",
            pytrace=False,
        )
    return done.stdout


@pytest.fixture(scope="session")
def library_path() -> Path:
    """The shared library under test: `SAMPLED_SOFTMAX_LIB`, else target/release."""
    named = os.environ.get("SAMPLED_SOFTMAX_LIB")
    path = Path(named) if named else ROOT / "target" / "release" / "libsampled_softmax.so"
    if not path.is_file():
        origin = "SAMPLED_SOFTMAX_LIB names" if named else "`make build` has not made"
        pytest.fail(f"no library to test: {origin} {path}", pytrace=False)
    return path.resolve()


@pytest.fixture(scope="session")
def library_dir(library_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to link against (-L) and to load from: the plain name and the SONAME."""
    folder = tmp_path_factory.mktemp("library")
    for name in ("libsampled_softmax.so", SONAME):
        (folder / name).symlink_to(library_path)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name whatever was not run, and how many tests it cost."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        is_place_and_reason = isinstance(report.longrepr, tuple)
        reason = report.longrepr[2] if is_place_and_reason else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"NOT RUN: {reason} ({count} tests)", yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """However a test came to be skipped, a run that must be complete has then failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [
        report for report in reporter.stats.get("skipped", []) if "nor can it be here" not in str(report.longrepr)
    ]
    if os.environ.get("SAMPLED_SOFTMAX_REQUIRE_ALL") == "1" and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
