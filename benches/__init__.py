"""The benchmark: this library and its peers on the same problems, in turns.

Participants
    Each is a process of its own, new for every shape, which the harness asks over a pipe
    and which takes the time itself. C callers of this library are `native/ssl_worker.c`;
    the others are in `participants/`. All have the same number of threads and the same
    cores, and none that waits by spinning.
Agreement
    Before anybody is timed, loss and gradients of given candidates must be a float64
    reference's (`verify`), and the loss of drawn ones be plausible.
Times
    A call draws new candidates, gathers, computes, masks hits and returns row-sparse
    gradients. In every round each participant has a turn of about 0.1 s in either mode
    while the others sleep; who begins moves on from round to round. Figures are medians
    over rounds, ratios medians of ratios within a round. How much the other workers and
    the rest of the machine ran meanwhile is measured too, and printed.
Floor
    2 N S d operations forward and 6 N S d with gradients, over the multiply-add peak of
    all threads, which `native/probe.c` measures in the same rounds.
Memory
    The highest resident size during calls after the first, above that before the first:
    outputs and what a framework keeps count; inputs, weights, what loads with the
    framework, and what building a graph takes for a moment do not.
Where peers do less
    TensorFlow and MindSpore draw distinct candidates, as we do; JAX and PyTorch have no
    sampler for that, and theirs are drawn with replacement. No peer merges the rows of
    classes that come twice; we do.
"""
