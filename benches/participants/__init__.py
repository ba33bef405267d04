"""One module a participant: the loss as its users would write it, on NumPy's arrays.

Each has a class `Participant` with `version` and `form` (how it computes, in a phrase),
`open(files, threads)`, `forward(step)` and `forward_backward(step)`, which draw new
candidates with every call, wait for the results and return the mean loss, `check()`, the
`verify.Results` of the candidates in the files, and `close()`.
"""
