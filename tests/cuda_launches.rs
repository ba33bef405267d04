//! How many kernels a call of the CUDA engine launches, counted on the emulated driver:
//! each costs the host and the device microseconds, which is what small batches consist of.

mod common;

use std::sync::Arc;

use common::drawing::{drawing_config, drawing_handle};
use common::driver::Driver;
use common::emulated::emulated;
use common::{BF16, Call, Case, F16, F32, Handle, KINDS, Random, Types};
use sampled_softmax::abi::*;

/// Kernels of a forward, a backward and a forward_backward, all gradients wanted.
fn launches(call: &mut Call) -> [u64; 3] {
    let driver = Driver::open();
    let handle = Arc::clone(&call.handle);
    let mut arguments = call.arguments_for_all();
    let mut of = |kind: fn(&common::Arguments, &Handle) -> Result<(), common::Failure>| {
        kind(&arguments, &handle).unwrap();
        let before = driver.calls("cuLaunchKernel");
        arguments.candidates.step += 1;
        kind(&arguments, &handle).unwrap();
        driver.calls("cuLaunchKernel") - before
    };
    let [forward, backward, both] = [KINDS[0].1, KINDS[1].1, KINDS[2].1].map(&mut of);
    [forward, backward, both]
}

fn given([rows, dim, sampled]: [usize; 3], dtype: u32) -> [u64; 3] {
    let mut case = Case::random([rows, dim, 20_000, sampled, 1], &mut Random::new(1));
    (case.types, case.backend) = (Types::all(dtype), SSL_BACKEND_CUDA);
    launches(&mut Call::new(&case))
}

fn drawn(sampler: u32, generator: u32) -> [u64; 3] {
    let config = ssl_config { backend: SSL_BACKEND_CUDA, generator, ..drawing_config(sampler) };
    let [classes, sampled] = [config.num_classes, config.num_sampled].map(|size| size as usize);
    let num_true = config.num_true as usize;
    let mut case = Case::random([100, 64, classes, sampled, num_true], &mut Random::new(1));
    case.types = Types::all(BF16);
    launches(&mut Call::drawing(&case, drawing_handle(config), 0))
}

/// begin, prepare, the pass over the candidates, finish_rows; then shares, the pass over
/// the rows, merge_rows; in backward without the first pass, which its own takes the place
/// of.
const SHORT_ROWS: [u64; 3] = [4, 7, 7];
/// The same with, for a chunk of rows, probabilities, the sums of d_biases and two products. In
/// one call exponentials for both the sums of the logits and the probabilities: then a pass for
/// rows whose exponentials cannot be stored, and one that applies the rows' factors.
const LONG_ROWS: [u64; 3] = [4, 9, 11];
/// cuBLASLt launches the products itself, and gets packed inputs. In float16 these take the launch
/// that a second pass over the logits does not.
const LONG_ROWS_BY_LIBRARY: [u64; 3] = [4, 8, 9];

#[test]
fn a_call_launches_no_more_kernels_than_it_did() {
    emulated(a_call_launches_no_more_kernels_than_it_did, "all", &[], || {
        let types = [(BF16, LONG_ROWS_BY_LIBRARY), (F32, LONG_ROWS), (F16, LONG_ROWS_BY_LIBRARY)];
        for (dtype, long) in types {
            assert_eq!(given([40, 16, 40], dtype), SHORT_ROWS, "type {dtype}");
            assert_eq!(given([300, 300, 40], dtype), long, "type {dtype}");
        }
    });
}

/// Inputs are packed once more for the candidates to attend to, without rows of no gradient.
#[test]
fn kernels_for_compute_capability_9_take_one_more_with_gradients() {
    let asked = [("SAMPLED_SOFTMAX_HOPPER", "1")];
    emulated(kernels_for_compute_capability_9_take_one_more_with_gradients, "all", &asked, || {
        let [forward, backward, both] = SHORT_ROWS;
        assert_eq!(given([40, 16, 40], BF16), [forward, backward + 1, both + 1]);
        assert_eq!(given([300, 300, 40], BF16), LONG_ROWS_BY_LIBRARY);
        assert_eq!(given([40, 16, 40], F32), SHORT_ROWS);
    });
}

#[test]
fn candidates_drawn_by_the_host_take_no_more_than_given_ones() {
    emulated(candidates_drawn_by_the_host_take_no_more_than_given_ones, "all", &[], || {
        for sampler in [SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_UNIFORM] {
            assert_eq!(drawn(sampler, SSL_GENERATOR_XOSHIRO), SHORT_ROWS);
        }
    });
}

/// draw_keys, sort_block, draw_firsts and draw_ids, and true_counts of what was drawn, where the
/// call draws.
#[test]
fn a_draw_of_the_device_takes_five() {
    emulated(a_draw_of_the_device_takes_five, "all", &[], || {
        let [forward, backward, both] = SHORT_ROWS;
        for sampler in [SSL_SAMPLER_LOG_UNIFORM, SSL_SAMPLER_UNIFORM] {
            assert_eq!(drawn(sampler, SSL_GENERATOR_PHILOX), [forward + 5, backward, both + 5]);
        }
    });
}

/// Keys beyond 8,192 are merged from sorted runs: for each doubling of the run a launch for
/// each halving of the distance down to a run's, and one more.
#[test]
fn more_keys_than_a_block_sorts_take_the_launches_that_merge_them() {
    emulated(more_keys_than_a_block_sorts_take_the_launches_that_merge_them, "all", &[], || {
        let [forward, backward, both] = SHORT_ROWS;
        assert_eq!(given([2, 8, 8192], BF16), SHORT_ROWS);
        assert_eq!(given([2, 8, 8193], BF16), [forward + 2, backward + 2, both + 2]);
        assert_eq!(given([8193, 8, 2], BF16), [forward, backward + 2, both + 2]);
    });
}
