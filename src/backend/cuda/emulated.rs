//! For tests: a process of its own under the emulator (`make emu`), where its libraries
//! are what the loader finds, and a few of the driver's functions that only tests call.

use std::ffi::c_void;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use libloading::Library;

/// Names the part of a test that this process is to run.
const PART: &str = "SAMPLED_SOFTMAX_TEST_PART";

/// Runs `body` in a process of its own whose driver is the emulator's, with these
/// settings; fails if it does. `test` is the calling test itself, and `part` tells several
/// such calls of one test apart.
pub(super) fn emulated<T: Fn()>(_test: T, part: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    if let Some(running) = env::var_os(PART) {
        if running == part {
            body();
            println!("part {part} ran");
        }
        return;
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("build/emu");
    assert!(folder.join("libcuda.so.1").exists(), "there is no emulator: make emu");
    run::<T>(
        part,
        &[&[("LD_LIBRARY_PATH", folder.to_str().unwrap()), ("FAKE_CUDA_STRICT", "1")], settings].concat(),
    );
}

/// The same without the emulator.
pub(super) fn in_own_process<T: Fn()>(_test: T, part: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    match env::var_os(PART) {
        Some(running) if running == part => {
            body();
            println!("part {part} ran");
        }
        Some(_) => {}
        None => run::<T>(part, settings),
    }
}

fn run<T>(part: &str, settings: &[(&str, &str)]) {
    let path = std::any::type_name::<T>();
    let (_, name) = path.split_once("::").expect("a path in this crate");
    let cache = env::temp_dir().join(format!("sampled-softmax-test-{}-{name}-{part}", std::process::id()));
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("SAMPLED_SOFTMAX_NVRTC")
        .env("SAMPLED_SOFTMAX_CACHE_DIR", &cache)
        .env(PART, part)
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let _ = fs::remove_dir_all(&cache);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(&format!("part {part} ran")),
        "part {part}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The rest of the driver.
pub(super) struct Extra(Library);

impl Extra {
    pub(super) fn open() -> Extra {
        // SAFETY: it is open already.
        Extra(unsafe { Library::new("libcuda.so.1") }.unwrap())
    }

    /// # Safety
    /// `T` is the type of a pointer to the function of that name.
    unsafe fn get<T: Copy>(&self, name: &str) -> T {
        // SAFETY: the caller's promise.
        *unsafe { self.0.get::<T>(name) }.unwrap()
    }

    /// Contexts that are current on this thread, one under the other.
    pub(super) fn depth(&self) -> i32 {
        // SAFETY: fake_cuda_context.cpp.
        unsafe { self.get::<unsafe extern "C" fn() -> i32>("fake_cuda_context_depth")() }
    }

    /// How often a function was called.
    pub(super) fn calls(&self, function: &str) -> u64 {
        let function = std::ffi::CString::new(function).unwrap();
        // SAFETY: fake_cuda_call.cpp.
        unsafe {
            self.get::<unsafe extern "C" fn(*const i8) -> u64>("fake_cuda_calls")(function.as_ptr().cast())
        }
    }

    /// A stream of the current context.
    pub(super) fn stream(&self) -> *mut c_void {
        let mut stream = std::ptr::null_mut();
        // SAFETY: cuda.h. 1 is CU_STREAM_NON_BLOCKING.
        let code = unsafe {
            self.get::<unsafe extern "C" fn(*mut *mut c_void, u32) -> i32>("cuStreamCreate")(&mut stream, 1)
        };
        assert_eq!(code, 0);
        stream
    }

    /// Calls a function of one pointer.
    pub(super) fn call(&self, function: &str, argument: *mut c_void) {
        // SAFETY: cuda.h; the caller names such a function.
        let code = unsafe { self.get::<unsafe extern "C" fn(*mut c_void) -> i32>(function)(argument) };
        assert_eq!(code, 0, "{function}");
    }

    /// Begins a capture of the strictest kind.
    pub(super) fn begin_capture(&self, stream: *mut c_void) {
        type Begin = unsafe extern "C" fn(*mut c_void, i32) -> i32;
        // SAFETY: cuda.h.
        let code = unsafe { self.get::<Begin>("cuStreamBeginCapture_v2")(stream, 0) };
        assert_eq!(code, 0);
    }

    /// Ends it; the graph, to be destroyed.
    pub(super) fn end_capture(&self, stream: *mut c_void) -> *mut c_void {
        let mut graph = std::ptr::null_mut();
        // SAFETY: cuda.h.
        let code = unsafe {
            self.get::<unsafe extern "C" fn(*mut c_void, *mut *mut c_void) -> i32>("cuStreamEndCapture")(
                stream, &mut graph,
            )
        };
        assert_eq!(code, 0);
        graph
    }

    /// Managed memory.
    pub(super) fn managed(&self, bytes: usize) -> u64 {
        let mut address = 0;
        // SAFETY: cuda.h. 1 is CU_MEM_ATTACH_GLOBAL.
        let code = unsafe {
            self.get::<unsafe extern "C" fn(*mut u64, usize, u32) -> i32>("cuMemAllocManaged")(
                &mut address,
                bytes,
                1,
            )
        };
        assert_eq!(code, 0);
        address
    }
}
