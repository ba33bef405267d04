"""`sampled_softmax.keras` on Keras's torch backend: the cases of `keras_cases.py`."""

from __future__ import annotations

from keras_backend import run_cases


def test_layer_on_the_torch_backend() -> None:
    run_cases("torch")
