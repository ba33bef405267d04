//! A part of a test in a process of its own: for what a process decides once, such as where
//! its libraries come from.

use std::env;
use std::process::Command;

/// Names the part of a test that this process is to run.
const PART: &str = "SAMPLED_SOFTMAX_TEST_PART";

/// This test binary, by the emulator that cargo starts it by where the processor is another.
fn this_program() -> Command {
    let program = env::current_exe().unwrap();
    let runner = env::var("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next().filter(|_| cfg!(target_arch = "aarch64")) {
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Starts this test binary anew for the calling test alone, after `prepare`, and in that
/// process runs `body`; fails if it does, and returns what it printed. Nothing happens in
/// the process of another part. `test` is the calling test itself.
pub fn in_own_process<T: Fn()>(
    _test: T,
    part: &str,
    prepare: impl FnOnce(&mut Command),
    body: impl FnOnce(),
) -> Option<String> {
    if let Some(running) = env::var_os(PART) {
        if running == part {
            body();
            println!("part {part} ran");
        }
        return None;
    }
    let (_, name) = std::any::type_name::<T>().split_once("::").expect("a path in this crate");
    let mut command = this_program();
    command.args(["--exact", name, "--include-ignored", "--nocapture", "--test-threads=1"]).env(PART, part);
    prepare(&mut command);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(&format!("part {part} ran")),
        "part {part}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text.into_owned())
}
