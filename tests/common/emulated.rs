//! A process of its own whose CUDA driver is the emulator's (`make emu`): the loader looks
//! for libraries where a process was told when it started, and the driver's settings are
//! read once.

use std::path::PathBuf;
use std::{env, fs};

use super::own_process::in_own_process;

/// Where `make emu` puts the driver.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("build/emu")
}

/// Runs `body` in a process of its own on the emulated driver, whose devices reach all
/// host memory, with these settings; fails if it does. `test` is the calling test itself,
/// and `part` tells several such calls of one test apart.
pub fn emulated<T: Fn()>(test: T, part: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    output_of(test, part, settings, body);
}

/// The same on the kernels that every device has, then on those for compute capability 9.0.
pub fn on_all_kernels<T: Fn() + Copy>(test: T, body: impl Fn()) {
    emulated(test, "all", &[], &body);
    emulated(test, "wgmma", &[("SAMPLED_SOFTMAX_HOPPER", "1")], &body);
}

/// `emulated`, with what the process has printed; nothing within it.
pub fn output_of<T: Fn()>(
    test: T,
    part: &str,
    settings: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<String> {
    let prepare = |command: &mut std::process::Command| {
        assert!(folder().join("libcuda.so.1").exists(), "there is no emulator: make emu");
        command
            .env("LD_LIBRARY_PATH", folder())
            .env("FAKE_CUDA_STRICT", "1")
            .env("FAKE_CUDA_PAGEABLE", "1")
            .env("SAMPLED_SOFTMAX_CACHE_DIR", cache())
            .envs(settings.iter().copied());
    };
    in_own_process(test, part, prepare, body)
}

/// One for all parts of this process: kernels are compiled once.
fn cache() -> PathBuf {
    let cache = env::temp_dir().join("sampled-softmax-emulated-cache");
    let _ = fs::create_dir_all(&cache);
    cache
}
