//! The structs that cross the C boundary have the layout of `abi/layout.txt`, the one
//! table that the C and the ctypes tests compare with too.

use std::fmt::Write;
use std::mem::{align_of, offset_of, size_of};

use sampled_softmax::abi::{ssl_batch, ssl_candidates, ssl_config, ssl_gradients, ssl_loss, ssl_update};

/// Bytes of a field, found without a value of the struct.
const fn field_size<Struct, Field>(_: fn(&Struct) -> &Field) -> usize {
    size_of::<Field>()
}

/// The table's lines for one struct. The pattern without `..` refuses to compile when
/// a field is missing from the list.
macro_rules! lines_of {
    ($name:ident: $($field:ident),+ $(,)?) => {{
        let _every_field = |object: $name| {
            let $name { $($field: _),+ } = object;
        };
        let mut lines = format!("{} {} {}\n", stringify!($name), size_of::<$name>(), align_of::<$name>());
        $(
            let offset = offset_of!($name, $field);
            let size = field_size(|object: &$name| &object.$field);
            writeln!(lines, "{}.{} {offset} {size}", stringify!($name), stringify!($field))
                .expect("a String takes any text");
        )+
        lines
    }};
}

fn layout_in_rust() -> String {
    [
        lines_of!(ssl_config: struct_size, backend, device, num_threads, num_classes,
            num_sampled, num_true, sampler, sampling, counts, hits, reduction, reserved, seed,
            rank, probability_floor, unigrams, num_unigrams, vocab_file, distortion,
            has_distortion, shard, num_shards, precision, num_reserved_ids, learned_counts,
            generator, reserved_too),
        lines_of!(ssl_batch: struct_size, inputs_dtype, weights_dtype, biases_dtype,
            labels_dtype, has_ignore_index, num_rows, dim, inputs, inputs_stride, weights,
            weights_stride, biases, labels, ignore_index, sample_weights),
        lines_of!(ssl_candidates: struct_size, source, counts_dtype, reserved, step, ids,
            sampled_expected_count, true_expected_count, avoid, num_avoid, num_tries,
            learned_counts, step_pointer),
        lines_of!(ssl_loss: struct_size, reserved, loss, log_sum_exp, device_status),
        lines_of!(ssl_gradients: struct_size, layout, d_inputs_dtype, d_weights_dtype,
            d_biases_dtype, reserved, grad_output, d_inputs, d_inputs_stride, d_weights,
            d_weights_stride, d_biases, row_ids, num_rows, row_capacity, update),
        lines_of!(ssl_update: struct_size, rule, learning_rate, learning_rate_pointer, epsilon,
            weight_decay, weights, biases, weights_state, weights_state_stride, biases_state),
    ]
    .concat()
}

/// A change of an existing line breaks every program that was built before it; lines
/// may only be added, and sizes grow.
#[test]
#[cfg(target_pointer_width = "64")]
fn structs_have_the_committed_layout() {
    let layout = layout_in_rust();
    let rust: Vec<&str> = layout.lines().collect();
    let table: Vec<&str> =
        include_str!("abi/layout.txt").lines().filter(|line| !line.starts_with('#')).collect();

    for (rust, table) in rust.iter().zip(&table) {
        assert_eq!(rust, table, "left: Rust, right: tests/abi/layout.txt");
    }
    assert_eq!(rust.len(), table.len(), "lines in Rust, and in tests/abi/layout.txt");
}

/// Padding would be bytes that SSL_INIT clears but a copy of the struct may not, and so
/// a non-zero tail where a newer struct meets an older library.
#[test]
fn every_byte_of_a_struct_belongs_to_a_field() {
    let layout = layout_in_rust();
    let mut end = 0;
    let mut size = 0;
    for line in layout.lines() {
        let [name, first, second]: [&str; 3] =
            line.split(' ').collect::<Vec<_>>().try_into().expect("three columns");
        let (first, second): (usize, usize) =
            (first.parse().expect("a number"), second.parse().expect("a number"));
        if name.contains('.') {
            assert_eq!(first, end, "offset of {name}, and the end of the field before it");
            end = first + second;
        } else {
            assert_eq!(end, size, "end of the last field before {name}, and size of its struct");
            (end, size) = (0, first);
        }
    }
    assert_eq!(end, size, "end of the last field, and size of its struct");
}
