//! A process of its own whose CUDA driver is the emulator's (`make emu`): the loader looks
//! for libraries where a process was told when it started, and the driver's settings are
//! read once.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Names the part of a test that this process is to run.
const PART: &str = "SAMPLED_SOFTMAX_TEST_PART";

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

/// The same, with what the process has printed; nothing within it.
pub fn output_of<T: Fn()>(
    _test: T,
    part: &str,
    settings: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<String> {
    match env::var_os(PART) {
        Some(running) => {
            if running == part {
                body();
                println!("part {part} ran");
            }
            None
        }
        None => Some(run(std::any::type_name::<T>(), part, settings)),
    }
}

fn run(path: &str, part: &str, settings: &[(&str, &str)]) -> String {
    assert!(folder().join("libcuda.so.1").exists(), "there is no emulator: make emu");
    let (_, name) = path.split_once("::").expect("a path in this crate");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("LD_LIBRARY_PATH", folder())
        .env("FAKE_CUDA_STRICT", "1")
        .env("FAKE_CUDA_PAGEABLE", "1")
        .env("SAMPLED_SOFTMAX_CACHE_DIR", cache())
        .env(PART, part)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(&format!("part {part} ran")),
        "part {part}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text.into_owned()
}

/// One for all parts of this process: kernels are compiled once.
fn cache() -> PathBuf {
    let cache = env::temp_dir().join("sampled-softmax-emulated-cache");
    let _ = fs::create_dir_all(&cache);
    cache
}
