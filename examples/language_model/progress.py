"""What is seen while it works: a bar on a terminal, plain lines anywhere else."""

import shutil
import sys
import time

from tqdm import tqdm  # the progress bar that most Python users know

#: Seconds between plain lines.
_PLAIN_INTERVAL = 5


class Counter:
    """Items done of a total, such as files read."""

    def __init__(self, total, what):
        self._bar = tqdm(total=total, desc=what, unit=" files", **_screen()) if _on_terminal() else None
        if self._bar is None:
            print(f"{what}: {total:,} files", file=sys.stderr, flush=True)

    def __call__(self):
        if self._bar is not None:
            self._bar.update()
            if self._bar.n == self._bar.total:
                self._bar.close()


class Progress:
    """Training seconds of all runs together, with loss and tokens/s of the one at work."""

    def __init__(self, runs, seconds):
        self._runs = runs
        self._width = max(len(run.name) for run in runs)
        self._total = seconds * len(runs)
        self._printed = time.monotonic()
        self._bar = None
        if _on_terminal():
            self._bar = tqdm(
                total=self._total,
                **_screen(),
                bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}",
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def stepped(self, run):
        """After every training step."""
        if self._bar is not None:
            self._bar.set_description_str(run.name.ljust(self._width), refresh=False)
            self._bar.set_postfix_str(_speed(run), refresh=False)
            self._bar.update(min(self._done(), self._total) - self._bar.n)
        elif time.monotonic() - self._printed >= _PLAIN_INTERVAL:
            self._print(f"{self._at(run, run.seconds)}  {_speed(run)}")

    def evaluated(self, run, point):
        """After every evaluation."""
        self._print(f"{self._at(run, point.seconds)}  held-out perplexity {point.perplexity:,.1f}")

    def _at(self, run, seconds):
        return f"{run.name.ljust(self._width)}  {seconds:5.1f} s"

    def _done(self):
        return sum(run.seconds for run in self._runs)

    def _print(self, line):
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)
        self._printed = time.monotonic()


def _speed(run):
    return f"loss {run.loss:.3f}, {run.tokens / run.seconds:,.0f} tokens/s"


def _on_terminal():
    return sys.stderr.isatty()


def _screen():
    # 80 x 24 where the terminal does not say: tqdm would show nothing there.
    size = shutil.get_terminal_size()
    return {"ncols": size.columns, "nrows": size.lines}
