//! For tests of the driver layer: a process of its own under the emulator (`make emu`) or
//! without a driver, and what the emulator tells only tests. Both are shared with the
//! tests of the C ABI.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/common/driver.rs"]
mod driver;
#[allow(unreachable_pub)]
#[path = "../../../tests/common/own_process.rs"]
mod own_process;

pub(super) use driver::Driver as FakeDriver;

/// Runs `body` in a process of its own whose driver is the emulator's, with these
/// settings; fails if it does. `test` is the calling test itself, and `part` tells several
/// such calls of one test apart.
pub(super) fn emulated<T: Fn()>(test: T, part: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("build/emu");
    assert!(folder.join("libcuda.so.1").exists(), "there is no emulator: make emu");
    let emulator = [("LD_LIBRARY_PATH", folder.to_str().unwrap()), ("FAKE_CUDA_STRICT", "1")];
    in_own_process(test, part, &[&emulator, settings].concat(), body);
}

/// The same without the emulator, and with an empty cache of kernels.
pub(super) fn in_own_process<T: Fn()>(test: T, part: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    let name = std::any::type_name::<T>();
    let cache = env::temp_dir().join(format!("sampled-softmax-test-{}-{name}-{part}", std::process::id()));
    let prepare = |command: &mut Command| {
        command
            .env_remove("LD_LIBRARY_PATH")
            .env_remove("SAMPLED_SOFTMAX_NVRTC")
            .env("SAMPLED_SOFTMAX_CACHE_DIR", &cache)
            .envs(settings.iter().copied());
    };
    own_process::in_own_process(test, part, prepare, body);
    let _ = fs::remove_dir_all(&cache);
}
