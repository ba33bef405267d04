# make demo     build, then train a language model with a large vocabulary on real text
# make examples a model on real data in PyTorch, JAX, TensorFlow and MindSpore, each beside the framework's own loss
# make bench    beside TensorFlow, JAX, PyTorch and MindSpore; writes benches/results/
# make bench-gpu-peers  the fused losses that `python3 -m benches.gpu` has beside ours, to be carried to a GPU
# make test     everything that can be checked, against real peers
# make soak     random calls, CASES=100000 of them, each beside float64; ENGINE=cuda on the emulated driver
# make build    the shared library: target/release/libsampled_softmax.so
# make install  headers, library, pkg-config and CMake files, under PREFIX (/usr/local) and DESTDIR
# make wheel    the Python package with the library inside, for any Python 3, into build/wheel/
# make emu      a stand-in for the CUDA driver that runs the kernels on the CPU; its folder: make -s emu-path
# make sanitize valgrind, AddressSanitizer, ThreadSanitizer and UBSan; PARTS="memcheck undefined" runs some
# make aarch64  layouts, numbers, draws and recorded hashes on that processor, by qemu (Debian: qemu-user gcc-aarch64-linux-gnu)
# make fuzz     random calls by the million and the coverage-guided fuzzers: CALLS=20000000 TIME=600 (seconds each)
# make lint     formatting and static checks
# make audit    dependencies: versions that were withdrawn, and, where they can be had, security advisories
# make third-party  write THIRD_PARTY.md anew: every crate and its licence
# make header   write include/sampled_softmax.h anew from src/abi.rs and src/capi.rs
#
# What these need beyond Rust, Python 3, gcc and make they install under build/.

VENV := build/.venv
PYTHON := $(VENV)/bin/python
LIBRARY := target/release/libsampled_softmax.so

# Tests of these names need an environment of their framework, or the emulated device.
ELSEWHERE := torch jax keras mindspore peer_mindspore device
tests_of = $(wildcard $(patsubst %,tests/python/test_%*.py,$(1)))

# The emulated driver, before any other, on a machine where the device reaches all memory. PyTorch
# brings an NVRTC of the same name.
EMULATED := LD_LIBRARY_PATH=$(CURDIR)/build/emu SAMPLED_SOFTMAX_NVRTC=$(CURDIR)/build/emu/libnvrtc.so.13 \
	FAKE_CUDA_PAGEABLE=1 FAKE_CUDA_STRICT=1

PREFIX ?= /usr/local

export PYTHONPATH := bindings/python
export SAMPLED_SOFTMAX_LIB := $(CURDIR)/$(LIBRARY)
export SAMPLED_SOFTMAX_CACHE_DIR := $(CURDIR)/build/cache

.PHONY: aarch64 build install wheel demo examples bench bench-gpu-peers test lint format header environments clean emu emu-path emu-test mutants sanitize churn soak audit third-party fuzz

build:
	cargo build --release --locked
	ln -sf libsampled_softmax.so $(LIBRARY).0
	python3 tests/third_party.py --notices $(dir $(LIBRARY))THIRD_PARTY.txt

install:
	sh bindings/c/install.sh $(LIBRARY) $(PREFIX)

wheel: build
	sh tests/environments.sh wheel
	rm -rf build/wheel
	$(VENV)-wheel/bin/python -m build --wheel --no-isolation --outdir build/wheel/plain bindings/python
	PATH="$(CURDIR)/$(VENV)-wheel/bin:$$PATH" auditwheel repair --wheel-dir build/wheel build/wheel/plain/*.whl

demo: build
	sh tests/environments.sh main
	$(PYTHON) -m examples.language_model $(ARGS)

examples: build environments
	$(VENV)-frameworks/bin/python bindings/jax/build.py
	$(VENV)-frameworks/bin/python -m examples.torch.language_model
	$(VENV)-frameworks/bin/python -m examples.jax.two_tower
	$(PYTHON) -m examples.tensorflow.skip_gram
	$(VENV)-mindspore/bin/python -m examples.mindspore.next_word

bench: build
	sh tests/environments.sh frameworks mindspore
	$(VENV)-frameworks/bin/python -m benches $(ARGS)

# Peers of `python3 -m benches.gpu`, to be carried to a machine without network: pure Python, a few MiB.
bench-gpu-peers:
	rm -rf build/peers
	python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: \
		--target build/peers --requirement benches/gpu/requirements.txt
	test $$(du -sm build/peers | cut -f1) -lt 64

test: build wheel environments emu emu-test
	$(MAKE) --silent -C tests/emu test ASAN=1
	$(PYTHON) tests/emu/mutants.py --quick
	cargo test --locked --quiet
	SAMPLED_SOFTMAX_ISA=portable cargo test --locked --quiet --test gradients --test dtypes --test edge_cases --test determinism
	$(PYTHON) -m pytest tests/python --quiet $(foreach name,$(ELSEWHERE),--ignore-glob '*/test_$(name)*')
	LD_LIBRARY_PATH=$(CURDIR)/build/emu FAKE_CUDA_HIDE=1 $(PYTHON) -m pytest $(call tests_of,device) --quiet
	$(EMULATED) $(VENV)-frameworks/bin/python -W ignore::UserWarning -m pytest tests/gpu --quiet
	$(EMULATED) $(VENV)-frameworks/bin/python -W ignore::UserWarning -m benches.gpu --smoke --rounds 1 --seconds 0
	$(VENV)-frameworks/bin/python -m pytest $(call tests_of,torch jax keras) --quiet
	$(VENV)-mindspore/bin/python -m pytest $(call tests_of,mindspore peer_mindspore) --quiet

# A call that fails is named by its number, with which it is made alone: make soak SEED=number CASES=1.
soak: CASES ?= $(if $(filter cuda,$(ENGINE)),500,100000)
soak: SEED ?= 0
soak: ENGINE ?= cpu
soak: $(if $(filter cuda,$(ENGINE)),emu)
	SAMPLED_SOFTMAX_SOAK_CASES=$(CASES) SAMPLED_SOFTMAX_SOAK_SEED=$(SEED) SAMPLED_SOFTMAX_SOAK_ENGINE=$(ENGINE) \
		cargo test --locked --release --test soak -- --nocapture

environments:
	sh tests/environments.sh main mindspore frameworks

# Kernels under the emulator, each against float64: make emu-test TESTS=columns runs tests/emu/test_columns.cpp.
# ASAN=1 builds this, and `emu`, with AddressSanitizer, UBSAN=1 with both. `mutants` plants bugs and looks whether these tests see them.
emu-test:
	$(MAKE) --silent -C tests/emu test

emu:
	$(MAKE) --silent -C tests/emu driver

# Handles made and destroyed 100,000 times on the emulated device too (make test: a few hundred).
churn:
	SAMPLED_SOFTMAX_CHURN=100000 cargo test --locked --test churn -- --nocapture

mutants:
	python3 tests/emu/mutants.py $(ARGS)

sanitize:
	sh tests/sanitize.sh $(PARTS)

# tests/boundary.rs says how to run one case again; what a fuzzer finds lies in build/fuzz.
CALLS ?= 1000000
TIME ?= 60
FUZZERS := calls vocabulary kernel_cache

fuzz: export SAMPLED_SOFTMAX_FUZZ_CALLS = $(CALLS)
fuzz: export SAMPLED_SOFTMAX_NUM_THREADS = 1
fuzz: export ASAN_OPTIONS = allocator_may_return_null=1:max_allocation_size_mb=1024
fuzz: export PATH := $(CURDIR)/build/cargo-fuzz/bin:$(PATH)
fuzz: emu
	nice cargo test --locked --quiet --test boundary -- --ignored a_long_run --nocapture
	command -v cargo-fuzz >/dev/null || cargo install --quiet cargo-fuzz --root build/cargo-fuzz
	mkdir -p $(FUZZERS:%=build/fuzz/corpus/%)
	for fuzzer in $(FUZZERS); do RUSTC_BOOTSTRAP=1 nice cargo fuzz run --fuzz-dir tests/fuzz \
		--target-dir $(CURDIR)/build/fuzz/target $$fuzzer $(CURDIR)/build/fuzz/corpus/$$fuzzer -- \
		-max_total_time=$(TIME) -max_len=1024 -timeout=60 -rss_limit_mb=0 \
		-artifact_prefix=$(CURDIR)/build/fuzz/$$fuzzer- || exit 1; done

aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = aarch64-linux-gnu-gcc
aarch64: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = qemu-aarch64 -L /usr/aarch64-linux-gnu
aarch64:
	rustup target add aarch64-unknown-linux-gnu
	cargo test --locked --target aarch64-unknown-linux-gnu --no-fail-fast \
		--test layout --test recorded_run --test sampling --test gradients --test dtypes --test edge_cases

emu-path:
	@echo $(CURDIR)/build/emu

lint:
	sh tests/environments.sh main
	cargo fmt --check
	cargo clippy --locked --all-targets --quiet -- --deny warnings
	$(PYTHON) -m ruff check bindings benches examples tests
	$(PYTHON) -m ruff format --check bindings benches examples tests

format:
	sh tests/environments.sh main
	cargo fmt
	$(PYTHON) -m ruff format bindings benches examples tests

third-party:
	python3 tests/third_party.py

# The registry says which versions were withdrawn. Advisories are a git repository, which no registry has a copy of:
# where it cannot be reached or cargo-audit is absent, that is said, and is no failure.
audit:
	cargo tree --locked --duplicates --edges normal
	python3 tests/third_party.py --check
	@mkdir -p build
	cargo package --locked --no-verify --allow-dirty > build/audit.log 2>&1 || { cat build/audit.log; exit 1; }
	@! grep -i yanked build/audit.log
	@if cargo audit --version > /dev/null 2>&1 && cargo audit fetch > /dev/null 2>&1; then cargo audit; else \
		echo "NOT CHECKED: security advisories. With a network: cargo install cargo-audit && cargo audit"; fi

header:
	SAMPLED_SOFTMAX_UPDATE_HEADER=1 cargo build --release --locked

clean:
	cargo clean
	rm -rf build
