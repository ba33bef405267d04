//! Nothing beside an array is read or written: every array lies against a page that may
//! not be touched, first with its end, then with its start.
#![cfg(unix)]

mod common;

use std::ptr::null_mut;

use common::{Arguments, BF16, Call, Case, F16, F32, F64, Gaps, Random, Types};
use libc::c_void;
use sampled_softmax::abi::*;

/// Memory between two pages that end the process when touched.
struct Guarded {
    base: *mut c_void,
    total: usize,
    data: *mut c_void,
}

impl Guarded {
    /// `bytes` bytes against the page behind them, or the page before them.
    fn new(bytes: usize, at_end: bool) -> Self {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = bytes.max(1).next_multiple_of(page);
        let total = inner + 2 * page;
        // SAFETY: a new mapping, of which the inner pages are made accessible.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(null_mut(), total, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(base.byte_add(page), inner, access), 0);
            base
        };
        let offset = if at_end { page + inner - bytes } else { page };
        Guarded { base, total, data: base.wrapping_byte_add(offset) }
    }

    /// A copy of `bytes` bytes from `data`.
    fn copy_of(data: *const c_void, bytes: usize, at_end: bool) -> Self {
        let guarded = Self::new(bytes, at_end);
        // SAFETY: both have `bytes` bytes.
        unsafe { guarded.data.copy_from_nonoverlapping(data, bytes) };
        guarded
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.base, self.total) };
    }
}

/// An array of the arguments: its pointer, its size, whether it is copied back.
struct Array<'a> {
    pointer: &'a mut *mut c_void,
    bytes: usize,
    written: bool,
}

/// Every array of a call on `case`, with its size in bytes.
fn arrays<'a>(arguments: &'a mut Arguments, call: &Call) -> Vec<Array<'a>> {
    fn array<T>(pointer: &mut *mut T, bytes: usize, written: bool) -> Array<'_> {
        // SAFETY: pointers to sized types share one representation.
        let pointer = unsafe { &mut *std::ptr::from_mut(pointer).cast::<*mut c_void>() };
        Array { pointer, bytes, written }
    }
    fn input<T>(pointer: &mut *const T, bytes: usize) -> Array<'_> {
        // SAFETY: as above.
        array(unsafe { &mut *std::ptr::from_mut(pointer).cast::<*mut T>() }, bytes, false)
    }
    let (case, outputs) = (&call.case, &call.outputs);
    let [inputs, weights, biases] = call.input_sizes();
    let label = if case.types.labels == SSL_LABELS_INT32 { 4 } else { 8 };
    let Arguments { batch, candidates, loss, gradients, .. } = arguments;
    vec![
        input(&mut batch.inputs, inputs),
        input(&mut batch.weights, weights),
        input(&mut batch.biases, biases),
        input(&mut batch.labels, label * case.labels.len()),
        array(&mut candidates.ids, 8 * outputs.ids.len(), false),
        array(&mut candidates.sampled_expected_count, outputs.sampled_expected_count.size_in_bytes(), false),
        array(&mut candidates.true_expected_count, outputs.true_expected_count.size_in_bytes(), false),
        array(&mut loss.loss, outputs.loss.size_in_bytes(), true),
        array(&mut loss.log_sum_exp, outputs.log_sum_exp.size_in_bytes(), true),
        array(&mut gradients.d_inputs, outputs.d_inputs.size_in_bytes(), true),
        array(&mut gradients.d_weights, outputs.d_weights.size_in_bytes(), true),
        array(&mut gradients.d_biases, outputs.d_biases.size_in_bytes(), true),
    ]
}

/// Runs a call whose arrays and workspace are all guarded, and brings the outputs back.
fn run_guarded(call: &mut Call, at_end: bool) {
    let mut arguments = call.arguments_for_all();
    let mut guards = Vec::new();
    let mut originals = Vec::new();
    for array in arrays(&mut arguments, call) {
        originals.push(*array.pointer);
        guards.push(Guarded::copy_of(*array.pointer, array.bytes, at_end));
        *array.pointer = guards[guards.len() - 1].data;
    }
    for kind in 0..3 {
        let size = call.workspace_sizes()[usize::from(kind > 0)];
        let workspace = Guarded::new(size, at_end);
        (arguments.workspace, arguments.workspace_size) = (workspace.data, size);
        match kind {
            0 => arguments.forward(&call.handle),
            1 => arguments.backward(&call.handle),
            // Dense gradients are added into: once is enough.
            _ if call.case.layout == SSL_GRADIENTS_DENSE => Ok(()),
            _ => arguments.forward_backward(&call.handle),
        }
        .unwrap();
    }
    for (array, original) in arrays(&mut arguments, call).into_iter().zip(originals) {
        if array.written {
            // SAFETY: both have that many bytes.
            unsafe { original.copy_from_nonoverlapping(*array.pointer, array.bytes) };
        }
    }
}

#[test]
fn nothing_beside_an_array_is_touched() {
    let mut random = Random::new(1);
    let shapes = [[1, 1, 1, 1, 1], [5, 3, 20, 7, 2], [17, 33, 40, 65, 1], [70, 16, 90, 31, 3]];
    for (index, shape) in shapes.into_iter().enumerate() {
        for dtype in [F32, F16, BF16, F64] {
            let mut case = Case::random(shape, &mut random);
            case.types = Types { labels: index as u32 % 2, ..Types::all(dtype) };
            case.layout = (index as u32 / 2) % 2;
            case.num_threads = 2;
            let gap = 3 * (index % 2);
            case.gaps = Gaps { inputs: gap, weights: gap, d_inputs: gap, d_weights: gap };
            for at_end in [true, false] {
                let mut call = Call::new(&case);
                run_guarded(&mut call, at_end);
                common::assert_matches_reference(&call);
            }
        }
    }
}
