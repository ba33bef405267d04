//! Kernels made, cached, loaded and launched under the emulator.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use super::context::{Device, Entered};
use super::emulated::{FakeDriver, emulated};
use super::instances::{self, Instance};
use super::module::Modules;
use super::pinned::{DeviceMemory, Pinned};
use super::pointers::Stream;
use crate::abi::*;
use crate::error::{Error, Result};

/// AddSumsArgs of kernels/arguments.cuh: total[c] = sum_i parts[i, c].
#[derive(Clone, Copy)]
#[repr(C)]
struct AddSums {
    parts: u64,
    total: u64,
    count: i32,
    cols: i32,
    accumulate: i32,
    pad: i32,
}

fn kernel() -> &'static Instance {
    instances::find("add_sums", "").expect("add_sums is a kernel")
}

fn failure<T>(result: Result<T>) -> (i32, String) {
    let error = result.err().expect("this is refused");
    (error.status(), error.to_string())
}

/// Sums three rows on the device, and compares.
fn run(entered: &Entered<'_>, device: &Arc<Device>, modules: &Modules, stream: Stream) -> Result<()> {
    const COLS: usize = 300;
    let function = modules.get(entered, stream, kernel())?;
    let host = Pinned::new(device, 4 * COLS * 4, "test")?;
    let memory = DeviceMemory::new(device, 4 * COLS * 4, "test")?;
    // SAFETY: the host's memory holds four rows, the last for the sums.
    let rows = unsafe { std::slice::from_raw_parts_mut(host.data().cast::<f32>(), 4 * COLS) };
    rows[..3 * COLS].iter_mut().enumerate().for_each(|(place, value)| *value = (place % 17) as f32);
    let total = memory.address() + (3 * COLS * 4) as u64;
    let arguments =
        AddSums { parts: memory.address(), total, count: 3, cols: COLS as i32, accumulate: 0, pad: 0 };
    // SAFETY: the kernel's struct; all memory outlives the synchronisation.
    unsafe {
        entered.copy_to_device_async(memory.address(), host.data().cast(), 3 * COLS * 4, stream)?;
        let blocks = COLS.div_ceil(kernel().rows) as u32;
        entered.launch(&function, [blocks, 1, 1], stream, &arguments)?;
        entered.copy_to_host_async(host.data().add(3 * COLS * 4).cast(), total, COLS * 4, stream)?;
    }
    entered.synchronize(stream)?;
    for column in 0..COLS {
        let expected: f32 = (0..3).map(|row| rows[row * COLS + column]).sum();
        assert_eq!(rows[3 * COLS + column], expected, "{column}");
    }
    Ok(())
}

fn run_once() -> Result<()> {
    let device = Device::open(0)?;
    let modules = Modules::new(&device)?;
    let entered = device.enter()?;
    run(&entered, &device, &modules, Stream::DEFAULT)
}

/// A folder of this test's own, and the settings that put cache and log there.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        // The same in every process of a test: removed by the first of them alone.
        let folder = std::env::temp_dir().join(format!("sampled-softmax-modules-{name}"));
        Folder(folder)
    }

    fn settings(&self) -> [(String, String); 2] {
        let path = |name: &str| self.0.join(name).to_str().unwrap().to_string();
        [("SAMPLED_SOFTMAX_CACHE_DIR".into(), path("cache")), ("FAKE_NVRTC_LOG".into(), path("log"))]
    }

    fn compilations(&self) -> usize {
        fs::read_to_string(self.0.join("log")).unwrap_or_default().lines().count()
    }
}

#[test]
fn a_kernel_runs_at_once_or_when_its_stream_gets_there() {
    let test = a_kernel_runs_at_once_or_when_its_stream_gets_there;
    for (part, defer) in [("at once", "0"), ("late", "1")] {
        emulated(test, part, &[("FAKE_CUDA_DEFER", defer), ("FAKE_CUDA_HIDE", "1")], || run_once().unwrap());
    }
}

#[test]
fn kernels_are_compiled_once_for_all_processes_and_again_if_the_driver_refuses_them() {
    let test = kernels_are_compiled_once_for_all_processes_and_again_if_the_driver_refuses_them;
    let folder = Folder::new("shared");
    if std::env::var_os("SAMPLED_SOFTMAX_TEST_PART").is_none() {
        let _ = fs::remove_dir_all(&folder.0);
        fs::create_dir(&folder.0).unwrap();
    }
    let refused = ("FAKE_CUDA_FAIL", "cuModuleLoadData:1=200");
    let other_version = ("FAKE_NVRTC_VERSION", "13.1");
    for (part, fake, compilations) in [
        ("first", None, 1),
        ("second", None, 1),
        ("refused", Some(refused), 2),
        ("newer", Some(other_version), 3),
    ] {
        let settings = folder.settings();
        let mut settings: Vec<_> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        settings.extend(fake);
        emulated(test, part, &settings, || {
            run_once().unwrap();
            run_once().unwrap();
            assert_eq!(folder.compilations(), compilations, "{part}");
        });
    }
    if std::env::var_os("SAMPLED_SOFTMAX_TEST_PART").is_none() {
        fs::remove_dir_all(&folder.0).unwrap();
    }
}

#[test]
fn a_new_image_that_the_driver_refuses_is_an_error_that_names_its_maker() {
    let test = a_new_image_that_the_driver_refuses_is_an_error_that_names_its_maker;
    emulated(test, "all", &[("FAKE_CUDA_FAIL", "cuModuleLoadData:1=222")], || {
        let (status, text) = failure(run_once());
        assert_eq!(status, SSL_STATUS_ARCHITECTURE);
        for part in ["small", "sm_90", "NVRTC 13.0", "222", "newer driver"] {
            assert!(text.contains(part), "{part} in: {text}");
        }
        run_once().unwrap();
    });
}

#[test]
fn without_nvrtc_a_handle_is_refused_at_once() {
    emulated(without_nvrtc_a_handle_is_refused_at_once, "all", &[("SAMPLED_SOFTMAX_NVRTC", "/none")], || {
        let device = Device::open(0).unwrap();
        let (status, text) = failure(Modules::new(&device));
        assert_eq!(status, SSL_STATUS_NO_BACKEND);
        assert!(text.contains("/none") && text.contains("--features aot"), "{text}");
    });
}

#[test]
fn nothing_is_loaded_while_the_stream_is_captured() {
    emulated(nothing_is_loaded_while_the_stream_is_captured, "all", &[], || {
        let device = Device::open(0).unwrap();
        let modules = Modules::new(&device).unwrap();
        let fake = FakeDriver::books();
        let entered = device.enter().unwrap();
        let raw = fake.stream();
        // SAFETY: just made.
        let stream = unsafe { device.check_stream(raw) }.unwrap();
        fake.begin_capture(raw);
        let (status, text) = failure(modules.get(&entered, stream, kernel()));
        assert_eq!(status, SSL_STATUS_GRAPH_CAPTURE);
        assert!(text.contains("add_sums") && text.contains("once outside of the capture"), "{text}");
        // Another thread, whose stream is not captured, loads without spoiling the capture.
        thread::scope(|scope| {
            scope.spawn(|| {
                let entered = device.enter().unwrap();
                let raw = fake.stream() as usize;
                // SAFETY: just made.
                let stream = unsafe { device.check_stream(raw as *mut _) }.unwrap();
                modules.get(&entered, stream, kernel()).unwrap();
                fake.destroy_stream(raw as *mut _);
            });
        });
        assert!(modules.get(&entered, stream, kernel()).is_ok());
        let graph = fake.captured(raw);
        fake.destroy_graph(graph);
        fake.destroy_stream(raw);
    });
}

#[test]
fn threads_that_want_the_same_kernel_load_it_once() {
    emulated(threads_that_want_the_same_kernel_load_it_once, "all", &[], || {
        let device = Device::open(0).unwrap();
        let modules = Modules::new(&device).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let entered = device.enter().unwrap();
                    modules.get(&entered, Stream::DEFAULT, kernel()).unwrap();
                });
            }
        });
        assert_eq!(FakeDriver::books().calls("cuModuleLoadData"), 1);
    });
}

#[test]
fn a_load_that_fails_half_way_leaves_nothing_and_can_be_tried_again() {
    let test = a_load_that_fails_half_way_leaves_nothing_and_can_be_tried_again;
    for failing in
        ["cuModuleGetFunction:1=500", "cuModuleGetFunction:3=99999", "cuFuncLoad:2=2", "cuModuleLoadData:1=2"]
    {
        emulated(test, failing, &[("FAKE_CUDA_FAIL", failing)], || {
            let device = Device::open(0).unwrap();
            let modules = Modules::new(&device).unwrap();
            let entered = device.enter().unwrap();
            assert!(modules.get(&entered, Stream::DEFAULT, kernel()).is_err());
            let fake = FakeDriver::books();
            let loaded = fake.calls("cuModuleLoadData") - u64::from(failing.starts_with("cuModuleLoadData"));
            assert_eq!(fake.calls("cuModuleUnload"), loaded);
            run(&entered, &device, &modules, Stream::DEFAULT).unwrap();
        });
    }
}

#[test]
fn a_launch_that_fails_names_the_kernel_and_its_sizes() {
    let test = a_launch_that_fails_names_the_kernel_and_its_sizes;
    let sizes = ["add_sums", "[2, 1, 1] blocks", "256 threads", "0 bytes of shared memory"];
    for (code, expected) in
        [("701", SSL_STATUS_LAUNCH), ("99999", SSL_STATUS_LAUNCH), ("2", SSL_STATUS_DEVICE_MEMORY)]
    {
        emulated(test, code, &[("FAKE_CUDA_FAIL", &format!("cuLaunchKernel:1={code}"))], || {
            let (status, text) = failure(run_once());
            assert_eq!(status, expected);
            for part in sizes.iter().chain([&code]) {
                assert!(text.contains(part), "{part} in: {text}");
            }
            run_once().unwrap();
        });
    }
    emulated(test, "lost", &[("FAKE_CUDA_FAIL", "cuLaunchKernel:1=700")], || {
        assert_eq!(failure(run_once()).0, SSL_STATUS_DEVICE_LOST);
    });
    emulated(test, "empty", &[], || {
        let device = Device::open(0).unwrap();
        let modules = Modules::new(&device).unwrap();
        let entered = device.enter().unwrap();
        let function = modules.get(&entered, Stream::DEFAULT, kernel()).unwrap();
        for grid in [[0, 1, 1], [1, 0, 1], [1, 65_536, 1], [1, 1, 65_536]] {
            // SAFETY: refused before anything is launched.
            let result = unsafe { entered.launch(&function, grid, Stream::DEFAULT, &0u64) };
            assert!(matches!(result, Err(Error::Shape(_))), "{grid:?}");
        }
        assert_eq!(FakeDriver::books().calls("cuLaunchKernel"), 0);
    });
}
