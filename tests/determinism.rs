//! The same call gives the same bits: for every number of threads, from run to run, in
//! two calls or in one, and while other threads use the handle.

mod common;

use std::sync::Arc;

use common::{BF16, Call, Case, F16, F32, F64, Handle, Outputs, Random, Types, default_config};
use sampled_softmax::abi::*;

fn cases() -> Vec<Case> {
    let shapes = [
        [70, 33, 120, 90, 2],
        [3, 200, 50, 40, 1],
        [257, 16, 40, 300, 1],
        // Several chunks of rows.
        [1300, 24, 300, 260, 1],
        // Large enough that every phase is shared.
        [520, 300, 900, 2100, 1],
        [1, 1, 1, 1, 1],
    ];
    let mut cases = Vec::new();
    for (index, shape) in shapes.into_iter().enumerate() {
        for dtype in [F32, F16, BF16, F64] {
            let mut case = Case::random(shape, &mut Random::new(index as u64));
            case.types = Types::all(dtype);
            case.reduction = index as u32 % 3;
            case.layout = index as u32 % 2;
            case.probability_floor = [0.0, 1e-3][index % 2];
            // Rows without upstream gradient: forward needs them, backward does not.
            let mut upstream = Random::new(7).values(case.loss_len(), 0.5, 2.0);
            if case.reduction == SSL_REDUCTION_NONE {
                upstream.iter_mut().skip(1).step_by(3).for_each(|gradient| *gradient = 0.0);
            }
            case.grad_output = Some(upstream);
            cases.push(case);
        }
    }
    cases
}

fn at_once(case: &Case) -> Outputs {
    let mut call = Call::new(case);
    call.forward_backward().unwrap();
    call.outputs
}

#[test]
fn number_of_threads_does_not_change_a_bit() {
    for mut case in cases() {
        case.num_threads = 1;
        let one = at_once(&case);
        for num_threads in [2, 7] {
            case.num_threads = num_threads;
            assert_eq!(at_once(&case), one, "{num_threads} threads, {:?}", case.types);
        }
    }
}

#[test]
fn forward_then_backward_equals_both_at_once() {
    for mut case in cases() {
        case.num_threads = 2;
        let mut call = Call::new(&case);
        call.forward().unwrap();
        call.backward().unwrap();
        assert_eq!(call.outputs, at_once(&case), "{:?}", case.types);
    }
}

#[test]
fn forward_alone_gives_the_same_loss() {
    for case in cases() {
        let mut call = Call::new(&case);
        call.forward().unwrap();
        let both = at_once(&case);
        assert_eq!(call.outputs.loss, both.loss);
        assert_eq!(call.outputs.log_sum_exp, both.log_sum_exp);
    }
}

#[test]
fn repeated_calls_on_one_handle_give_the_same_bits() {
    for mut case in cases() {
        case.num_threads = 2;
        let mut call = Call::new(&case);
        call.forward_backward().unwrap();
        let first = call.outputs.clone();
        for _ in 0..3 {
            call.reset();
            call.forward_backward().unwrap();
            assert_eq!(call.outputs, first);
        }
    }
}

/// A row's loss does not depend on which rows come with it, nor on their number.
#[test]
fn rows_do_not_depend_on_their_batch() {
    let case = Case::random([130, 24, 60, 70, 1], &mut Random::new(9));
    let whole = at_once(&case);
    for (first, count) in [(0, 1), (5, 64), (100, 30)] {
        let mut part = case.clone();
        part.rows = count;
        part.inputs = case.inputs[first * 24..(first + count) * 24].to_vec();
        part.labels = case.labels[first..first + count].to_vec();
        part.true_expected_count = case.true_expected_count[first..first + count].to_vec();
        let part = at_once(&part);
        assert_eq!(part.loss.values(), whole.loss.values()[first..first + count]);
        let cells = first * 24..(first + count) * 24;
        assert_eq!(part.d_inputs.values(), whole.d_inputs.values()[cells]);
    }
}

#[test]
fn threads_that_share_a_handle_do_not_disturb_one_another() {
    let mut case = Case::random([60, 31, 80, 50, 1], &mut Random::new(10));
    for num_threads in [1, 2, 5] {
        case.num_threads = num_threads;
        let expected = at_once(&case);
        let handle = Arc::new(Handle::create(&case.config()).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut call = Call::on(&case, Arc::clone(&handle));
                    for round in 0..10 {
                        call.reset();
                        if round % 2 == 0 {
                            call.forward_backward().unwrap();
                        } else {
                            call.forward().unwrap();
                            call.backward().unwrap();
                        }
                        assert_eq!(call.outputs, expected);
                    }
                });
            }
        });
    }
}

#[test]
fn threads_that_draw_from_one_handle_get_what_their_step_says() {
    let case = Case::random([20, 8, 500, 40, 1], &mut Random::new(11));
    let config = ssl_config {
        num_threads: 2,
        num_classes: 500,
        num_sampled: 40,
        sampler: SSL_SAMPLER_LOG_UNIFORM,
        seed: 3,
        ..default_config()
    };
    let handle = Arc::new(Handle::create(&config).unwrap());
    let drawn = |step: u64| {
        let mut call = Call::drawing(&case, Arc::clone(&handle), step);
        call.forward_backward().unwrap();
        call.outputs
    };
    let expected: Vec<Outputs> = (0..8).map(drawn).collect();
    std::thread::scope(|scope| {
        for start in 0..4 {
            let (drawn, expected) = (&drawn, &expected);
            scope.spawn(move || {
                for step in (0..8).map(|step| (step + start) % 8) {
                    assert_eq!(drawn(step), expected[step as usize]);
                }
            });
        }
    });
}

#[test]
fn many_handles_come_and_go() {
    let mut case = Case::random([5, 4, 9, 6, 1], &mut Random::new(12));
    let expected = at_once(&case);
    for round in 0..100 {
        case.num_threads = 1 + round % 4;
        assert_eq!(at_once(&case), expected);
    }
}
