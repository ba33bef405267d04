# make demo    build, then train a language model with a large vocabulary on real text
# make bench   beside TensorFlow, JAX, PyTorch and MindSpore; writes benches/results/
# make test    everything that can be checked, against real peers
# make build   the shared library: target/release/libsampled_softmax.so
# make lint    formatting and static checks
# make header  write include/sampled_softmax.h anew from src/abi.rs and src/capi.rs
#
# What these need beyond Rust, Python 3, gcc and make they install under build/.

VENV := build/.venv
PYTHON := $(VENV)/bin/python
LIBRARY := target/release/libsampled_softmax.so

export PYTHONPATH := bindings/python
export SAMPLED_SOFTMAX_LIB := $(CURDIR)/$(LIBRARY)

.PHONY: build demo bench test lint format header environments clean

build:
	cargo build --release
	ln -sf libsampled_softmax.so $(LIBRARY).0

demo: build
	sh tests/environments.sh main
	$(PYTHON) -m examples.language_model $(ARGS)

bench: build
	sh tests/environments.sh bench mindspore
	$(VENV)-bench/bin/python -m benches $(ARGS)

test: build environments
	cargo test --quiet
	SAMPLED_SOFTMAX_ISA=portable cargo test --quiet --test gradients --test dtypes --test edge_cases --test determinism
	$(PYTHON) -m pytest tests/python --quiet --ignore-glob '*test_peer_mindspore*'
	$(VENV)-mindspore/bin/python -m pytest tests/python/test_peer_mindspore*.py --quiet

environments:
	sh tests/environments.sh main mindspore

lint:
	sh tests/environments.sh main
	cargo fmt --check
	cargo clippy --all-targets --quiet -- --deny warnings
	$(PYTHON) -m ruff check bindings benches examples tests
	$(PYTHON) -m ruff format --check bindings benches examples tests

format:
	sh tests/environments.sh main
	cargo fmt
	$(PYTHON) -m ruff format bindings benches examples tests

header:
	SAMPLED_SOFTMAX_UPDATE_HEADER=1 cargo build --release

clean:
	cargo clean
	rm -rf build
