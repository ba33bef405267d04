//! The driver layer under the emulator: each part in a process of its own. The emulator
//! ends a process that leaves a context pushed, leaks, or calls what a capture forbids.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::context::Device;
use super::driver::Driver;
use super::emulated::{FakeDriver, emulated, in_own_process};
use super::graph::CaptureState;
use super::pinned::{DeviceMemory, Pinned};
use super::pointers::Stream;
use super::stream::Event;
use crate::abi::*;
use crate::error::Error;

fn failure<T>(result: Result<T, Error>) -> (i32, String) {
    let error = result.err().expect("this is refused");
    (error.status(), error.to_string())
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part} in: {text}");
    }
}

#[test]
fn without_a_driver_the_error_says_what_to_install() {
    // SAFETY: opening libcuda is harmless.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_ok() {
        eprintln!("NOT RUN: this machine has a driver");
        return;
    }
    in_own_process(without_a_driver_the_error_says_what_to_install, "absent", &[], || {
        for _ in 0..2 {
            let (status, text) = failure(Device::open(0));
            assert_eq!(status, SSL_STATUS_NO_BACKEND);
            assert_says(
                &text,
                &["(libcuda.so.1: ", "No such file", "install NVIDIA's driver", "backend = 0"],
            );
        }
    });
}

#[test]
fn a_driver_that_lacks_a_function_is_refused_by_its_name() {
    // The C library stands in for a driver without a single function.
    static LIBRARY: OnceLock<libloading::Library> = OnceLock::new();
    // SAFETY: it is open already.
    let library = unsafe { libloading::Library::new("libc.so.6") }.unwrap();
    let (status, text) = failure(Driver::fetch(LIBRARY.get_or_init(|| library)));
    assert_eq!(status, SSL_STATUS_NO_BACKEND);
    assert_says(&text, &["cuInit", "too old"]);
}

#[test]
fn a_device_is_opened_with_its_attributes() {
    let test = a_device_is_opened_with_its_attributes;
    emulated(test, "h100", &[], || {
        let device = Device::open(0).unwrap();
        let found = (device.ordinal, device.arch, device.sm_count, device.max_shared, device.pageable);
        assert_eq!(found, (0, 90, 132, 227 << 10, false));
    });
    emulated(test, "second", &[("FAKE_CUDA_DEVICES", "2"), ("FAKE_CUDA_PAGEABLE", "1")], || {
        let device = Device::open(1).unwrap();
        assert_eq!((device.ordinal, device.pageable), (1, true));
    });
    emulated(test, "volta", &[("FAKE_CUDA_ARCH", "70")], || assert_eq!(Device::open(0).unwrap().arch, 70));
}

#[test]
fn a_device_that_cannot_serve_is_refused_with_its_numbers() {
    let test = a_device_that_cannot_serve_is_refused_with_its_numbers;
    emulated(test, "ordinal", &[("FAKE_CUDA_DEVICES", "2")], || {
        for ordinal in [-1, 2, i32::MAX, i32::MIN] {
            let (status, text) = failure(Device::open(ordinal));
            assert_eq!(
                (status, text),
                (SSL_STATUS_INVALID_VALUE, format!("device = {ordinal} is outside [0, 2)"))
            );
        }
    });
    emulated(test, "none", &[("FAKE_CUDA_DEVICES", "0")], || {
        let (status, text) = failure(Device::open(0));
        assert_eq!(status, SSL_STATUS_NO_BACKEND);
        assert_says(&text, &["CUDA_ERROR_NO_DEVICE (100)"]);
    });
    emulated(test, "pascal", &[("FAKE_CUDA_ARCH", "61")], || {
        let (status, text) = failure(Device::open(0));
        assert_eq!(status, SSL_STATUS_ARCHITECTURE);
        assert_says(&text, &["device 0", "6.1", "7.0"]);
    });
    emulated(test, "unknown", &[("FAKE_CUDA_FAIL", "cuInit:1=99999")], || {
        let (status, text) = failure(Device::open(0));
        assert_eq!(status, SSL_STATUS_NO_BACKEND);
        assert_says(&text, &["99999"]);
        // The next attempt is a new one.
        assert!(Device::open(0).is_ok());
    });
}

#[test]
fn the_callers_context_is_put_back() {
    emulated(the_callers_context_is_put_back, "all", &[("FAKE_CUDA_DEVICES", "2")], || {
        let (first, second) = (Device::open(0).unwrap(), Device::open(1).unwrap());
        let fake = FakeDriver::books();
        assert_eq!(fake.context_depth(), 0);
        {
            let _outer = first.enter().unwrap();
            let _inner = second.enter().unwrap();
            assert_eq!(fake.context_depth(), 2);
            let _event = Event::new(&first).unwrap();
            assert_eq!(fake.context_depth(), 2);
        }
        assert_eq!(fake.context_depth(), 0);
        assert!(DeviceMemory::new(&first, usize::MAX / 2, "too much").is_err());
        assert_eq!(fake.context_depth(), 0);
    });
}

#[test]
fn a_stream_of_another_device_is_refused() {
    emulated(a_stream_of_another_device_is_refused, "all", &[("FAKE_CUDA_DEVICES", "2")], || {
        let (first, second) = (Device::open(0).unwrap(), Device::open(1).unwrap());
        let fake = FakeDriver::books();
        let entered = second.enter().unwrap();
        let raw = fake.stream();
        // SAFETY: an existing stream, and the default ones.
        unsafe {
            assert!(second.check_stream(raw).is_ok());
            for special in 0..3 {
                assert!(first.check_stream(special as *mut c_void).is_ok());
            }
            let (status, text) = failure(first.check_stream(raw));
            assert_eq!(status, SSL_STATUS_INVALID_VALUE);
            assert_says(&text, &[&format!("stream = {raw:p}"), "device 0"]);
        }
        fake.destroy_stream(raw);
        drop(entered);
    });
}

#[test]
fn a_pointer_that_the_device_does_not_reach_is_refused() {
    let test = a_pointer_that_the_device_does_not_reach_is_refused;
    emulated(test, "two devices", &[("FAKE_CUDA_DEVICES", "2")], || {
        let (first, second) = (Device::open(0).unwrap(), Device::open(1).unwrap());
        let own = DeviceMemory::new(&first, 64, "test").unwrap();
        let other = DeviceMemory::new(&second, 64, "test").unwrap();
        let pinned = Pinned::new(&second, 64, "test").unwrap();
        let fake = FakeDriver::books();
        let managed = {
            let _entered = second.enter().unwrap();
            fake.allocate_managed(64)
        };
        let entered = first.enter().unwrap();
        for passes in [0, own.address(), own.address() + 60, pinned.data() as u64, managed] {
            entered.check_pointer("inputs", passes as *const c_void).unwrap();
        }
        let on_host = 0u64;
        let (status, text) = failure(entered.check_pointer("inputs", (&raw const on_host).cast()));
        assert_eq!(status, SSL_STATUS_INVALID_VALUE);
        assert_says(&text, &["inputs = 0x", "is host memory", "device 0"]);
        let (status, text) = failure(entered.check_pointer("weights", other.address() as *const c_void));
        assert_eq!(status, SSL_STATUS_INVALID_VALUE);
        assert_says(&text, &["weights = 0x", "memory of device 1", "device 0"]);
        fake.free(managed);
    });
    emulated(test, "all reachable", &[("FAKE_CUDA_PAGEABLE", "1")], || {
        let device = Device::open(0).unwrap();
        let on_host = 0u64;
        device.enter().unwrap().check_pointer("inputs", (&raw const on_host).cast()).unwrap();
    });
}

#[test]
fn memory_that_runs_out_says_how_much_was_wanted_for_what() {
    let settings = [("FAKE_CUDA_FAIL", "cuMemAlloc_v2:1=2,cuMemHostAlloc:1=2")];
    emulated(memory_that_runs_out_says_how_much_was_wanted_for_what, "all", &settings, || {
        let device = Device::open(0).unwrap();
        let (status, text) = failure(DeviceMemory::new(&device, 4096, "the sampler's table"));
        assert_eq!(status, SSL_STATUS_DEVICE_MEMORY);
        assert_says(&text, &["4096 bytes", "the sampler's table", "device 0"]);
        let (status, text) = failure(Pinned::new(&device, 512, "a slot"));
        assert_eq!(status, SSL_STATUS_HOST_MEMORY);
        assert_says(&text, &["512 bytes", "a slot"]);
        // It may be there a moment later.
        assert!(DeviceMemory::new(&device, 4096, "again").is_ok());
    });
}

#[test]
fn copies_arrive_in_the_order_of_the_stream() {
    let test = copies_arrive_in_the_order_of_the_stream;
    for (part, defer) in [("at once", "0"), ("late", "1")] {
        emulated(test, part, &[("FAKE_CUDA_DEFER", defer), ("FAKE_CUDA_HIDE", "1")], || {
            let device = Device::open(0).unwrap();
            let (from, to) =
                (Pinned::new(&device, 64, "test").unwrap(), Pinned::new(&device, 64, "test").unwrap());
            let memory = DeviceMemory::new(&device, 64, "test").unwrap();
            let (event, stream) = (Event::new(&device).unwrap(), Stream::DEFAULT);
            let entered = device.enter().unwrap();
            // SAFETY: all buffers are larger than 64 bytes and outlive the synchronisation.
            unsafe {
                ptr::write_bytes(from.data(), 7, 48);
                ptr::write_bytes(from.data().add(48), 9, 16);
                entered.copy_to_device_async(memory.address(), from.data().cast(), 48, stream).unwrap();
                entered.copy_to_device_async(memory.address() + 48, from.data().cast(), 16, stream).unwrap();
                entered
                    .copy_to_device_async(memory.address() + 32, from.data().add(48).cast(), 16, stream)
                    .unwrap();
                entered.copy_to_host_async(to.data().cast(), memory.address(), 64, stream).unwrap();
                event.record(&entered, stream).unwrap();
                event.synchronize(&entered).unwrap();
                assert!(event.is_done(&entered).unwrap());
                entered.synchronize(stream).unwrap();
                let arrived = std::slice::from_raw_parts(to.data(), 64);
                assert_eq!(arrived, [[7; 16], [7; 16], [9; 16], [7; 16]].concat());
            }
        });
    }
}

#[test]
fn a_failed_device_answers_every_later_call_the_same() {
    let test = a_failed_device_answers_every_later_call_the_same;
    for code in ["700", "719", "714", "214"] {
        emulated(test, code, &[("FAKE_CUDA_FAIL", &format!("cuMemcpyHtoDAsync_v2:1={code}"))], || {
            let device = Device::open(0).unwrap();
            let memory = DeviceMemory::new(&device, 64, "test").unwrap();
            let entered = device.enter().unwrap();
            let pinned = Pinned::new(&device, 64, "test").unwrap();
            // SAFETY: both are there.
            let result = unsafe {
                entered.copy_to_device_async(memory.address(), pinned.data().cast(), 64, Stream::DEFAULT)
            };
            let (status, text) = failure(result);
            assert_eq!(status, SSL_STATUS_DEVICE_LOST);
            assert_says(&text, &["device 0 failed", code, "started anew"]);
            drop(entered);
            assert_eq!(failure(device.enter()), (status, text.clone()));
            assert_eq!(failure(Event::new(&device)), (status, text.clone()));
            assert_eq!(failure(Pinned::new(&device, 8, "test")), (status, text));
            // What is there goes without a word.
            drop(memory);
            assert_eq!(FakeDriver::books().context_depth(), 0);
        });
    }
}

#[test]
fn any_failure_of_any_call_is_an_error_and_leaves_no_context() {
    let test = any_failure_of_any_call_is_an_error_and_leaves_no_context;
    let calls = [
        "cuDriverGetVersion",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceGetAttribute",
        "cuDevicePrimaryCtxRetain",
        "cuCtxPushCurrent_v2",
        "cuEventCreate",
        "cuEventRecord",
        "cuEventQuery",
        "cuMemAlloc_v2",
        "cuMemHostAlloc",
        "cuMemcpyHtoDAsync_v2",
        "cuStreamSynchronize",
        "cuStreamIsCapturing",
        "cuThreadExchangeStreamCaptureMode",
        "cuLaunchHostFunc",
        "cuPointerGetAttribute",
    ];
    for call in calls {
        // An ordinary error, a code that no driver has, the end of the driver.
        let failures: Vec<String> = [1, 99_999, 4].iter().map(|code| format!("{call}:1={code}")).collect();
        for settings in &failures {
            emulated(test, settings, &[("FAKE_CUDA_FAIL", settings)], || {
                let result = everything();
                assert!(result.is_err() || call == "cuDriverGetVersion", "{settings}");
                assert_eq!(FakeDriver::books().context_depth(), 0);
            });
        }
    }
}

/// Uses every call once.
fn everything() -> Result<(), Error> {
    unsafe extern "C" fn nothing(_: *mut c_void) {}
    let device = Device::open(0)?;
    device.driver.version();
    let (memory, pinned) = (DeviceMemory::new(&device, 64, "test")?, Pinned::new(&device, 64, "test")?);
    let event = Event::new(&device)?;
    let entered = device.enter()?;
    let stream = Stream::DEFAULT;
    entered.check_pointer("inputs", memory.address() as *const c_void)?;
    entered.is_capturing(stream)?;
    // SAFETY: the buffers outlive the synchronisation.
    unsafe {
        entered.copy_to_device_async(memory.address(), pinned.data().cast(), pinned.bytes(), stream)?;
        entered.launch_host_function(stream, nothing, ptr::null_mut())?;
    }
    event.record(&entered, stream)?;
    event.is_done(&entered)?;
    entered.synchronize(stream)
}

#[test]
fn destruction_after_the_drivers_end_is_harmless() {
    let failing = "cuCtxPushCurrent_v2:4=4,cuCtxPushCurrent_v2:5=4,cuCtxPushCurrent_v2:6=4,cuDevicePrimaryCtxRelease_v2:1=4";
    emulated(destruction_after_the_drivers_end_is_harmless, "all", &[("FAKE_CUDA_FAIL", failing)], || {
        let device = Device::open(0).unwrap();
        let memory = DeviceMemory::new(&device, 64, "test").unwrap();
        let pinned = Pinned::new(&device, 64, "test").unwrap();
        let event = Event::new(&device).unwrap();
        drop((memory, pinned, event));
        assert_eq!(Arc::strong_count(&device), 1);
        drop(device);
        assert_eq!(FakeDriver::books().context_depth(), 0);
    });
}

#[test]
fn what_a_graph_was_given_lives_as_long_as_the_graph() {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    struct Value;
    impl Drop for Value {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let test = what_a_graph_was_given_lives_as_long_as_the_graph;
    emulated(test, "kept", &[], || {
        let device = Device::open(0).unwrap();
        let fake = FakeDriver::books();
        let entered = device.enter().unwrap();
        let raw = fake.stream();
        // SAFETY: just made.
        let stream = unsafe { device.check_stream(raw) }.unwrap();
        assert_eq!(entered.is_capturing(stream).unwrap(), CaptureState::None);
        assert!(entered.capture(stream).unwrap().is_none());
        fake.begin_capture(raw);
        assert_eq!(entered.is_capturing(stream).unwrap(), CaptureState::Active);
        let capture = entered.capture(stream).unwrap().unwrap();
        entered.give_to_graph(&capture, Box::new(Value)).unwrap();
        // In the strictest capture, memory of our own may still come and go.
        drop(DeviceMemory::new(&device, 64, "test").unwrap());
        let graph = fake.captured(raw);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 0);
        fake.destroy_graph(graph);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
        fake.destroy_stream(raw);
    });
    for call in ["cuUserObjectCreate", "cuGraphRetainUserObject"] {
        emulated(test, call, &[("FAKE_CUDA_FAIL", &format!("{call}:1=2"))], || {
            let device = Device::open(0).unwrap();
            let fake = FakeDriver::books();
            let entered = device.enter().unwrap();
            let raw = fake.stream();
            // SAFETY: just made.
            let stream = unsafe { device.check_stream(raw) }.unwrap();
            fake.begin_capture(raw);
            let capture = entered.capture(stream).unwrap().unwrap();
            assert!(entered.give_to_graph(&capture, Box::new(Value)).is_err());
            assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
            let graph = fake.captured(raw);
            fake.destroy_graph(graph);
            assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
            fake.destroy_stream(raw);
        });
    }
}

#[test]
fn many_threads_share_a_device() {
    emulated(many_threads_share_a_device, "all", &[], || {
        let device = Device::open(0).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let entered = device.enter().unwrap();
                        let memory = DeviceMemory::new(&device, 64, "test").unwrap();
                        entered.check_pointer("inputs", memory.address() as *const c_void).unwrap();
                    }
                });
            }
        });
    });
}
