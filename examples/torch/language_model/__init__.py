"""A next-word model in PyTorch, by `sampled_softmax.torch` and by plain PyTorch."""
