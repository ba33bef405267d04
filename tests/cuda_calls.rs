//! Calls of the CUDA engine as a caller makes them, on the emulated driver: what is
//! refused, memory, streams, threads, processes, and the same bits every time.

mod common;

use std::sync::Arc;

use common::driver::Driver;
use common::emulated::emulated;
use common::{BF16, Call, Case, F16, F32, F64, Handle, Random, Types, check, default_config};
use sampled_softmax::abi::*;
use sampled_softmax::capi::{ssl_backend_available, ssl_workspace_size};

fn case(dim: usize, dtype: u32) -> Case {
    let mut case = Case::random([33, dim, 200, 150, 2], &mut Random::new(dim as u64));
    case.types = Types::all(dtype);
    case.backend = SSL_BACKEND_CUDA;
    case
}

/// The bits of a step, whatever order the device runs its threads in.
#[test]
fn results_repeat_bit_for_bit() {
    let mut first: Option<String> = None;
    for (part, settings) in [
        ("as it comes", vec![]),
        ("again", vec![]),
        ("shuffled", vec![("FAKE_CUDA_SEED", "3")]),
        ("greedy, late copies", vec![("FAKE_CUDA_SEED", "6")]),
        ("blocks in parallel", vec![("FAKE_CUDA_THREADS", "2"), ("FAKE_CUDA_SEED", "9")]),
    ] {
        let output = common::emulated::output_of(results_repeat_bit_for_bit, part, &settings, || {
            for (dim, dtype) in [(5, F32), (100, BF16), (200, F16), (300, BF16), (300, F32)] {
                let mut call = Call::new(&case(dim, dtype));
                call.forward().unwrap();
                call.backward().unwrap();
                println!("bits {:016x}", hash(&format!("{:?}", call.outputs)));
                call.reset();
                call.forward_backward().unwrap();
                println!("bits {:016x}", hash(&format!("{:?}", call.outputs)));
            }
        });
        let Some(output) = output else { continue };
        let bits: String = output.lines().filter(|line| line.contains("bits ")).collect();
        assert_eq!(bits.matches("bits ").count(), 10);
        assert_eq!(first.get_or_insert_with(|| bits.clone()), &bits, "{part}");
    }
}

fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn float64_is_refused() {
    emulated(float64_is_refused, "all", &[], || {
        let mut wrong = case(5, F64);
        wrong.types = Types::all(F64);
        let mut call = Call::new(&wrong);
        let batch = call.arguments().batch;
        // SAFETY: NULL is for a size that is not wanted.
        let status = unsafe {
            ssl_workspace_size(call.handle.pointer(), &batch, std::ptr::null_mut(), std::ptr::null_mut())
        };
        let failure = check(status).unwrap_err();
        assert_eq!(failure.status, SSL_STATUS_DTYPE);
        assert!(failure.message.contains("inputs_dtype is float64"), "{}", failure.message);
    });
}

#[test]
fn sizes_beyond_the_kernels_positions_are_refused() {
    emulated(sizes_beyond_the_kernels_positions_are_refused, "all", &[], || {
        let size = |num_classes: i64, num_sampled: i64, num_rows: i64, dim: i64| {
            let config = ssl_config {
                backend: SSL_BACKEND_CUDA,
                sampler: SSL_SAMPLER_CALLER,
                num_classes,
                num_sampled,
                num_true: 2,
                ..default_config()
            };
            let handle = Handle::create(&config).unwrap();
            let mut call = Call::new(&case(5, F32));
            let batch = ssl_batch { num_rows, dim, ..call.arguments().batch };
            let (mut forward, mut backward) = (0, 0);
            // SAFETY: all live; only sizes are read.
            check(unsafe { ssl_workspace_size(handle.pointer(), &batch, &mut forward, &mut backward) })
                .map(|()| [forward, backward])
        };
        assert!(size(1000, 10, 1 << 20, 8).is_ok());
        let refused = |result: Result<[usize; 2], common::Failure>, words: &str| {
            let failure = result.unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_SHAPE);
            assert!(failure.message.contains(words), "{}", failure.message);
        };
        refused(size(1000, 10, 1 << 30, 8), "num_rows * num_true = 2147483648");
        refused(size(1000, 1 << 31, 1, 8), "num_sampled = 2147483648");
        refused(size(1 << 55, 1 << 10, 1, 8), "65 bits");
        refused(size(1000, 10, 1, 1 << 31), "dim = 2147483648");
    });
}

#[test]
fn workspaces_do_not_grow_when_rows_become_fewer() {
    emulated(workspaces_do_not_grow_when_rows_become_fewer, "all", &[], || {
        for (dim, sampled) in [(8, 8192), (100, 300), (256, 4000), (300, 5000), (1000, 70)] {
            for dtype in [F32, BF16] {
                let mut case = Case::random([1, 1, 3, sampled, 2], &mut Random::new(1));
                case.backend = SSL_BACKEND_CUDA;
                case.types = Types::all(dtype);
                let mut call = Call::new(&case);
                let mut batch = call.arguments().batch;
                batch.dim = dim;
                let mut largest = [0, 0];
                for rows in (0..700).chain([1000, 5000, 20_000, 100_000]) {
                    batch.num_rows = rows;
                    let (mut forward, mut backward) = (0, 0);
                    // SAFETY: all live; only sizes are read.
                    check(unsafe {
                        ssl_workspace_size(call.handle.pointer(), &batch, &mut forward, &mut backward)
                    })
                    .unwrap();
                    assert!(
                        forward >= largest[0] && backward >= largest[1] && backward >= forward,
                        "{rows} rows"
                    );
                    largest = [forward, backward];
                }
            }
        }
    });
}

#[test]
fn host_memory_is_refused_by_name() {
    let settings = [("FAKE_CUDA_PAGEABLE", "0")];
    emulated(host_memory_is_refused_by_name, "all", &settings, || {
        let driver = Driver::open();
        let mut call = Call::new(&case(5, F32));
        let handle = Arc::clone(&call.handle);
        let mut arguments = call.arguments_for_all();
        let memory = driver.allocate(1 << 20) as *mut libc::c_void;
        let refused = |name: &str, arguments: &common::Arguments| {
            let failure = arguments.forward_backward(&handle).unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_INVALID_VALUE);
            assert!(failure.message.starts_with(&format!("{name} = ")), "{}", failure.message);
            assert!(failure.message.contains("host memory"), "{}", failure.message);
        };
        refused("inputs", &arguments);
        arguments.batch.inputs = memory;
        refused("weights", &arguments);
        arguments.batch.weights = memory;
        refused("biases", &arguments);
        arguments.batch.biases = memory;
        refused("labels", &arguments);
        arguments.batch.labels = memory;
        refused("ids", &arguments);
        driver.free(memory as u64);
    });
}

#[test]
fn devices_and_streams_of_others_are_refused() {
    emulated(devices_and_streams_of_others_are_refused, "all", &[("FAKE_CUDA_DEVICES", "2")], || {
        let config = ssl_config {
            backend: SSL_BACKEND_CUDA,
            device: 2,
            num_classes: 5,
            num_sampled: 2,
            ..default_config()
        };
        let failure = Handle::create(&config).unwrap_err();
        assert!(failure.message.contains("device = 2 is outside [0, 2)"), "{}", failure.message);
        let driver = Driver::open();
        let stream = driver.stream();
        let other = Arc::new(Handle::create(&ssl_config { device: 1, ..config }).unwrap());
        let mut case = case(5, F32);
        (case.classes, case.num_true) = (5, 1);
        let mut call = Call::on(&case, other);
        let mut arguments = call.arguments_with_workspace(0);
        arguments.stream = stream;
        let failure = arguments.forward(&call.handle).unwrap_err();
        assert!(failure.message.contains("device 1"), "{}", failure.message);
        driver.destroy_stream(stream);
    });
}

#[test]
fn there_is_a_backend_where_there_is_a_device() {
    emulated(there_is_a_backend_where_there_is_a_device, "some", &[], || {
        assert_eq!(ssl_backend_available(SSL_BACKEND_CUDA), 1);
    });
    emulated(there_is_a_backend_where_there_is_a_device, "none", &[("FAKE_CUDA_DEVICES", "0")], || {
        assert_eq!(ssl_backend_available(SSL_BACKEND_CUDA), 0);
        assert!(common::last_error().contains("device"), "{}", common::last_error());
    });
    emulated(there_is_a_backend_where_there_is_a_device, "old", &[("FAKE_CUDA_ARCH", "61")], || {
        let config =
            ssl_config { backend: SSL_BACKEND_CUDA, num_classes: 5, num_sampled: 2, ..default_config() };
        assert_eq!(Handle::create(&config).unwrap_err().status, SSL_STATUS_ARCHITECTURE);
    });
}
