"""A next-token model of Python source code with a large output vocabulary."""

import os

# OpenBLAS's idle threads spin for about 30 ms (2^26 cycles) before they sleep. Whatever else
# runs meanwhile shares the cores with them: here the library's threads and the full
# softmax's, both a third slower for it. OpenBLAS reads this when NumPy loads it.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")
