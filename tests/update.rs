//! Updates in the call that makes the gradient: the same as sparse gradients followed by an
//! optimizer's step, and nothing beside it. On both engines.

mod common;

use std::ptr::null_mut;
use std::sync::Arc;

use common::driver::Driver;
use common::emulated::emulated;
use common::updating::{RULES, Updating, Wish, assert_stepped, stepped};
use common::{Arguments, BF16, Buffer, Call, Case, F16, F32, F64, Gaps, Kind, Random, Types};
use sampled_softmax::abi::*;

/// With gradients in the type that they are summed in, whatever the parameters' types.
fn case(dim: usize, dtype: u32, backend: u32) -> Case {
    let mut case = Case::random([21, dim, 60, 25, 2], &mut Random::new(dim as u64));
    let real = if dtype == F64 { F64 } else { F32 };
    case.types = Types { d_inputs: real, d_weights: real, d_biases: real, ..Types::all(dtype) };
    case.gaps = Gaps { weights: 3, ..Gaps::default() };
    case.backend = backend;
    case
}

/// The body on the CPU engine here, and on the CUDA engine in an emulated process.
fn on_both<T: Fn()>(test: T, body: impl Fn(u32)) {
    if std::env::var_os("FAKE_CUDA_STRICT").is_none() {
        body(SSL_BACKEND_CPU);
    }
    emulated(test, "all", &[], || body(SSL_BACKEND_CUDA));
}

fn forward_then_backward(arguments: &Arguments, handle: &common::Handle) -> Result<(), common::Failure> {
    arguments.forward(handle)?;
    arguments.backward(handle)
}

const WAYS: [Kind; 2] = [Arguments::forward_backward, forward_then_backward];

/// The gradients of the same loss, sparse.
fn sparse(case: &Case, way: Kind) -> Call {
    let mut call = Call::new(case);
    let arguments = call.arguments_for_all();
    way(&arguments, &call.handle).unwrap();
    call
}

#[test]
fn an_update_is_an_optimizers_step_on_the_sparse_gradient() {
    on_both(an_update_is_an_optimizers_step_on_the_sparse_gradient, |backend| {
        let dtypes = if backend == SSL_BACKEND_CPU { &[F32, F16, BF16, F64][..] } else { &[F32, F16, BF16] };
        for rule in RULES {
            for &dtype in dtypes {
                for (dim, way) in [(1, WAYS[0]), (5, WAYS[1]), (40, WAYS[0]), (300, WAYS[1])] {
                    let case = case(dim, dtype, backend);
                    let decay = if dim == 5 { 0.02 } else { 0.0 };
                    let wish = Wish { gap: dim % 3, decay, ..Wish::of(rule) };
                    let sparse = sparse(&case, way);
                    let mut call = Updating::new(&case, wish);
                    let want = stepped(&call, &sparse);
                    call.run(way).unwrap();
                    assert_stepped(&call, &want);
                    let (got, want) = (&call.call.outputs, &sparse.outputs);
                    assert_eq!((&got.loss, &got.d_inputs), (&want.loss, &want.d_inputs));
                    assert_eq!((&got.row_ids, got.num_rows), (&want.row_ids, want.num_rows));
                    assert_eq!(got.device_status, 0);
                }
            }
        }
    });
}

#[test]
fn rows_longer_than_a_block_of_threads_are_moved() {
    on_both(rows_longer_than_a_block_of_threads_are_moved, |backend| {
        for rule in RULES {
            let mut case = case(2100, F32, backend);
            case.inputs.iter_mut().for_each(|x| *x *= 0.05);
            let sparse = sparse(&case, WAYS[0]);
            let mut call = Updating::new(&case, Wish { decay: 0.1, ..Wish::of(rule) });
            let want = stepped(&call, &sparse);
            call.run(WAYS[0]).unwrap();
            assert_stepped(&call, &want);
        }
    });
}

#[test]
fn classes_without_a_gradient_keep_every_bit() {
    on_both(classes_without_a_gradient_keep_every_bit, |backend| {
        for rule in RULES {
            let case = case(7, BF16, backend);
            let mut call = Updating::new(&case, Wish { decay: 0.5, gap: 1, ..Wish::of(rule) });
            let before = call.parameters();
            call.run(WAYS[0]).unwrap();
            let after = call.parameters();
            let touched = &call.call.outputs.row_ids[..call.call.outputs.num_rows as usize];
            let strides = [10, 1, if rule == SSL_UPDATE_ADAGRAD { 8 } else { 1 }, 1];
            let mut moved = 0;
            for ((before, after), stride) in before.iter().zip(&after).zip(strides) {
                for index in 0..before.len() {
                    if touched.contains(&((index / stride) as i64)) {
                        moved += usize::from(before.get(index) != after.get(index));
                    } else {
                        // Also where it is the gap between rows, whatever it reads as.
                        assert_eq!(before.get(index).to_bits(), after.get(index).to_bits());
                    }
                }
            }
            assert!(moved > 7 * touched.len() / 2, "{moved} numbers moved");
        }
    });
}

#[test]
fn a_rate_in_memory_is_the_rate() {
    on_both(a_rate_in_memory_is_the_rate, |backend| {
        for rule in RULES {
            let case = case(9, F32, backend);
            let mut by_value = Updating::new(&case, Wish::of(rule));
            by_value.run(WAYS[0]).unwrap();
            let mut by_pointer = Updating::new(&case, Wish { rate: 0.0, ..Wish::of(rule) });
            let rate = 0.3_f32;
            by_pointer.update.learning_rate_pointer = (&raw const rate).cast();
            by_pointer.run(WAYS[0]).unwrap();
            if backend == SSL_BACKEND_CUDA {
                assert_eq!(by_value.parameters(), by_pointer.parameters());
            }
            // As far as 0.3 is 0.3 in float32.
            let values = |call: &Updating| call.call.weights.dense_rows(60, 9, 3);
            let want = values(&by_value);
            common::assert_close("weights", &values(&by_pointer), &want, |_| 1e-6);
        }
    });
}

#[test]
fn weights_alone_or_biases_alone_may_move() {
    on_both(weights_alone_or_biases_alone_may_move, |backend| {
        for rule in RULES {
            for dim in [6, 270] {
                let case = case(dim, F32, backend);
                let mut whole = Updating::new(&case, Wish::of(rule));
                let still = whole.parameters();
                whole.run(WAYS[0]).unwrap();
                let moved = whole.parameters();
                for weights in [true, false] {
                    let mut call = Updating::new(&case, Wish::of(rule));
                    let arguments = call.arguments();
                    let update = &mut call.update;
                    if weights {
                        (update.biases, update.biases_state) = (null_mut(), null_mut());
                    } else {
                        (update.weights, update.weights_state) = (null_mut(), null_mut());
                    }
                    let mut arguments = arguments;
                    arguments.gradients.update = &call.update;
                    arguments.gradients.row_ids = null_mut();
                    arguments.gradients.row_capacity = 0;
                    arguments.forward_backward(&call.call.handle).unwrap();
                    let got = call.parameters();
                    for (index, got) in got.iter().enumerate() {
                        let own = index % 2 == usize::from(!weights);
                        assert_eq!(got, if own { &moved[index] } else { &still[index] });
                    }
                    assert_eq!(call.call.outputs.num_rows, whole.call.outputs.num_rows);
                    assert!(call.call.outputs.row_ids.iter().all(|&id| id == i64::MIN));
                }
            }
        }
    });
}

/// 0 / 0 is no step, and 0 times anything neither.
#[test]
fn gradients_of_zero_move_nothing_whatever_epsilon_is() {
    on_both(gradients_of_zero_move_nothing_whatever_epsilon_is, |backend| {
        for rule in RULES {
            let mut case = case(5, F32, backend);
            case.grad_output = Some(vec![0.0; 21]);
            case.inputs[3] = f64::NAN;
            let mut call = Updating::new(&case, Wish { epsilon: 0.0, ..Wish::of(rule) });
            let before = call.parameters();
            for way in WAYS {
                call.run(way).unwrap();
            }
            assert_eq!(call.parameters(), before);
        }
    });
}

#[test]
fn a_refused_update_changes_nothing_and_says_why() {
    type Spoil = fn(&mut Updating, &mut Arguments);
    on_both(a_refused_update_changes_nothing_and_says_why, |backend| {
        let refused: [(Spoil, ssl_status, &[&str]); 19] = [
            (|_, a| a.gradients.update = std::ptr::null(), SSL_STATUS_NULL_POINTER, &["update"]),
            (|_, a| a.gradients.layout = SSL_GRADIENTS_SPARSE, SSL_STATUS_INVALID_VALUE, &["update is set"]),
            (|_, a| a.gradients.layout = 3, SSL_STATUS_INVALID_VALUE, &["layout = 3"]),
            (|c, _| c.update.struct_size = 12, SSL_STATUS_STRUCT_SIZE, &["update.struct_size = 12"]),
            (|c, _| c.update.rule = 9, SSL_STATUS_INVALID_VALUE, &["update.rule = 9"]),
            (|c, _| c.update.learning_rate = f64::NAN, SSL_STATUS_INVALID_VALUE, &["learning_rate = NaN"]),
            (|c, _| c.update.learning_rate = -1.0, SSL_STATUS_INVALID_VALUE, &["learning_rate = -1"]),
            (|c, _| c.update.epsilon = -1.0, SSL_STATUS_INVALID_VALUE, &["epsilon = -1"]),
            (|c, _| c.update.weight_decay = f64::INFINITY, SSL_STATUS_INVALID_VALUE, &["weight_decay = inf"]),
            (
                |c, _| c.update.learning_rate_pointer = c.weights_state.pointer(),
                SSL_STATUS_INVALID_VALUE,
                &["learning_rate = 0.3", "learning_rate_pointer"],
            ),
            (
                |c, _| c.update.weights = c.weights_state.pointer(),
                SSL_STATUS_INVALID_VALUE,
                &["update.weights"],
            ),
            (
                |c, _| c.update.biases = c.weights_state.pointer(),
                SSL_STATUS_INVALID_VALUE,
                &["update.biases"],
            ),
            (|c, _| c.update.weights_state = null_mut(), SSL_STATUS_NULL_POINTER, &["update.weights_state"]),
            (|c, _| c.update.biases_state = null_mut(), SSL_STATUS_NULL_POINTER, &["update.biases_state"]),
            (
                |c, _| c.update.weights_state_stride = 4,
                SSL_STATUS_SHAPE,
                &["weights_state_stride = 4", "dim = 5"],
            ),
            (|c, _| c.update.biases = null_mut(), SSL_STATUS_INVALID_VALUE, &["update.biases_state is set"]),
            (
                |c, a| a.gradients.d_weights = c.weights_state.pointer(),
                SSL_STATUS_INVALID_VALUE,
                &["d_weights is set"],
            ),
            (
                |c, _| c.update.biases_state = c.weights_state.pointer(),
                SSL_STATUS_OVERLAP,
                &["weights_state", "biases_state"],
            ),
            (|_, a| a.gradients.row_capacity = 3, SSL_STATUS_SHAPE, &["row_capacity = 3"]),
        ];
        for (number, (spoil, status, words)) in refused.into_iter().enumerate() {
            let mut call = Updating::new(&case(5, F32, backend), Wish::of(SSL_UPDATE_ADAGRAD));
            let mut arguments = call.arguments();
            spoil(&mut call, &mut arguments);
            let (parameters, outputs) = (call.parameters(), call.call.outputs.clone());
            let failure = arguments.forward_backward(&call.call.handle).expect_err(words[0]);
            assert_eq!(failure.status, status, "{number}: {failure:?}");
            for word in words {
                assert!(failure.message.contains(word), "{}", failure.message);
            }
            assert_eq!(call.parameters(), parameters);
            assert_eq!(call.call.outputs, outputs);
        }
        // What SGD has no use for.
        for (spoil, words) in [
            ((|u| u.epsilon = 0.1) as fn(&mut ssl_update), "epsilon = 0.1"),
            (|u| u.weights_state = u.weights, "SSL_UPDATE_SGD keeps none"),
            (|u| u.weights_state_stride = 8, "weights_state_stride = 8"),
        ] {
            let mut call = Updating::new(&case(5, F32, backend), Wish::of(SSL_UPDATE_SGD));
            let arguments = call.arguments();
            spoil(&mut call.update);
            let failure = arguments.forward_backward(&call.call.handle).unwrap_err();
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    });
}

/// Tied weights: what is written must not be read as something else.
#[test]
fn weights_that_are_inputs_or_outputs_too_are_not_updated() {
    let case = case(5, F32, SSL_BACKEND_CPU);
    let mut call = Updating::new(&case, Wish::of(SSL_UPDATE_SGD));
    let mut arguments = call.arguments();
    arguments.batch.inputs = arguments.batch.weights;
    let failure = arguments.forward_backward(&call.call.handle).unwrap_err();
    assert_eq!(failure.status, SSL_STATUS_OVERLAP);
    assert!(failure.message.contains("inputs and weights"), "{}", failure.message);
    arguments.gradients.update = std::ptr::null();
    arguments.gradients.layout = SSL_GRADIENTS_SPARSE;
    arguments.gradients.row_capacity = 0;
    arguments.forward_backward(&call.call.handle).unwrap();
}

#[test]
fn a_rate_that_cannot_be_meant_is_refused_where_the_host_sees_it() {
    for rate in [-0.1_f32, f32::NAN, f32::INFINITY] {
        let case = case(5, F32, SSL_BACKEND_CPU);
        let mut call = Updating::new(&case, Wish { rate: 0.0, ..Wish::of(SSL_UPDATE_SGD) });
        call.update.learning_rate_pointer = (&raw const rate).cast();
        let (parameters, outputs) = (call.parameters(), call.call.outputs.clone());
        let failure = call.run(Arguments::forward_backward).unwrap_err();
        assert!(failure.message.contains("learning_rate_pointer"), "{}", failure.message);
        assert_eq!((call.parameters(), call.call.outputs.clone()), (parameters, outputs));
    }
}

#[test]
fn labels_at_fault_change_nothing_on_the_host() {
    for rule in RULES {
        let mut case = case(5, F32, SSL_BACKEND_CPU);
        case.labels[40] = 60;
        let mut call = Updating::new(&case, Wish::of(rule));
        let before = call.parameters();
        let failure = call.run(Arguments::forward_backward).unwrap_err();
        assert_eq!(failure.status, SSL_STATUS_LABEL_RANGE);
        assert_eq!(call.parameters(), before);
    }
}

#[test]
fn faults_that_the_device_finds_move_nothing_of_their_own() {
    emulated(faults_that_the_device_finds_move_nothing_of_their_own, "all", &[], || {
        for rule in RULES {
            for dim in [5, 300] {
                // A row of bad labels counts as one that is left out.
                let mut bad = case(dim, F32, SSL_BACKEND_CUDA);
                let mut ignored = bad.clone();
                bad.labels[40] = 60;
                ignored.ignore_index = Some(-1);
                ignored.labels[40..42].fill(-1);
                let [bad, ignored] = [bad, ignored].map(|case| {
                    let mut call = Updating::new(&case, Wish { decay: 0.1, ..Wish::of(rule) });
                    call.run(Arguments::forward_backward).unwrap();
                    call
                });
                assert_eq!(bad.call.outputs.device_status, SSL_STATUS_LABEL_RANGE as u32);
                assert_eq!(bad.parameters(), ignored.parameters());
                // A candidate at fault spoils every row.
                let mut case = case(dim, F32, SSL_BACKEND_CUDA);
                case.ids[3] = 60;
                let mut call = Updating::new(&case, Wish { decay: 0.1, ..Wish::of(rule) });
                let before = call.parameters();
                call.run(Arguments::forward_backward).unwrap();
                assert_eq!(call.call.outputs.device_status, SSL_STATUS_LABEL_RANGE as u32);
                assert_eq!(call.parameters(), before);
            }
        }
    });
}

#[test]
fn threads_do_not_show_in_an_update() {
    for rule in RULES {
        let mut case = Case::random([300, 40, 5000, 900, 1], &mut Random::new(3));
        let run = |case: &Case| {
            let mut call = Updating::new(case, Wish::of(rule));
            call.run(Arguments::forward_backward).unwrap();
            call.parameters()
        };
        let one = run(&case);
        case.num_threads = 5;
        assert!(run(&case) == one);
    }
}

/// Of the rows of a batch repeated over and over.
#[test]
fn updates_bring_the_loss_down() {
    on_both(updates_bring_the_loss_down, |backend| {
        for rule in RULES {
            let mut case = case(16, BF16, backend);
            case.reduction = SSL_REDUCTION_MEAN;
            let mut call = Updating::new(&case, Wish::of(rule));
            let losses: Vec<f64> = (0..30)
                .map(|_| {
                    call.run(Arguments::forward_backward).unwrap();
                    call.call.outputs.loss.get(0)
                })
                .collect();
            assert!(losses[29] < 0.8 * losses[0], "{losses:?}");
        }
    });
}

#[test]
fn every_replay_of_a_graph_updates_at_the_rate_of_its_time() {
    emulated(every_replay_of_a_graph_updates_at_the_rate_of_its_time, "all", &[], || {
        let driver = Driver::open();
        let stream = driver.stream();
        for rule in RULES {
            let case = case(12, F32, SSL_BACKEND_CUDA);
            let mut rate = Buffer::new(F32, &[0.25]);
            let pointer = rate.pointer();
            let updating = |handle: Option<Arc<common::Handle>>| {
                let call = handle.map_or_else(|| Call::new(&case), |handle| Call::on(&case, handle));
                let mut call = Updating::on(call, Wish { rate: 0.0, ..Wish::of(rule) });
                call.update.learning_rate_pointer = pointer;
                call
            };
            let mut calls = updating(None);
            let rates = [0.25, 0.5, 0.0, 0.125];
            for value in rates {
                rate.set(0, value);
                calls.run(Arguments::forward_backward).unwrap();
            }
            let mut graph = updating(Some(Arc::clone(&calls.call.handle)));
            let mut arguments = graph.arguments();
            arguments.stream = stream;
            driver.begin_capture(stream);
            arguments.forward_backward(&graph.call.handle).unwrap();
            let captured = driver.end_capture(stream);
            for value in rates {
                rate.set(0, value);
                captured.launch(stream);
            }
            assert_eq!(graph.parameters(), calls.parameters());
        }
        driver.destroy_stream(stream);
    });
}
