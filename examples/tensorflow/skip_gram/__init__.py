"""Word vectors in TensorFlow, by `sampled_softmax.tensorflow` and by TensorFlow's own loss."""
