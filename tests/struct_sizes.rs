//! `struct_size`: older, shorter structs count as extended with zeros, newer, longer
//! ones are taken as long as they set nothing unknown, and the rest is refused.

mod common;

use std::ptr::null_mut;

use common::{Call, Case, Failure, Handle, Random, check, default_config};
use sampled_softmax::abi::*;
use sampled_softmax::capi::*;

/// Bytes of the largest struct that is followed.
const LARGEST: usize = 4096;

/// A struct in a page of its own, zeros behind it, with any `struct_size`.
struct Paged {
    words: Vec<u64>,
}

impl Paged {
    fn new<T: Copy>(value: &T) -> Self {
        let mut words = vec![0_u64; LARGEST / 8 + 1];
        // SAFETY: the page is larger than the struct and aligned for it.
        unsafe { words.as_mut_ptr().cast::<T>().write(*value) };
        Paged { words }
    }

    fn with_size(&mut self, size: u32) -> &mut Self {
        self.words[0] = self.words[0] & !u64::from(u32::MAX) | u64::from(size);
        self
    }

    fn set_byte(&mut self, offset: usize, value: u8) {
        let shift = 8 * (offset % 8);
        self.words[offset / 8] &= !(0xFF << shift);
        self.words[offset / 8] |= u64::from(value) << shift;
    }

    fn pointer<T>(&self) -> *const T {
        self.words.as_ptr().cast()
    }
}

/// The five structs of a valid call, each in a page.
struct Pages {
    /// In a box, since the structs point into it.
    call: Box<Call>,
    pages: [Paged; 5],
}

const NAMES: [&str; 5] = ["config", "batch", "candidates", "loss", "gradients"];
const SIZES: [usize; 5] = [
    size_of::<ssl_config>(),
    size_of::<ssl_batch>(),
    size_of::<ssl_candidates>(),
    size_of::<ssl_loss>(),
    size_of::<ssl_gradients>(),
];

impl Pages {
    fn new() -> Self {
        let case = Case::random([5, 4, 20, 8, 2], &mut Random::new(1));
        let mut call = Box::new(Call::new(&case));
        let arguments = call.arguments();
        let pages = [
            Paged::new(&case.config()),
            Paged::new(&arguments.batch),
            Paged::new(&arguments.candidates),
            Paged::new(&arguments.loss),
            Paged::new(&arguments.gradients),
        ];
        Pages { call, pages }
    }

    /// Creates a handle and runs a call with it, from the pages as they are.
    fn run(&mut self) -> Result<(), Failure> {
        let [config, batch, candidates, loss, gradients] = &self.pages;
        let mut handle = null_mut();
        // SAFETY: every page holds at least as many bytes as its struct says.
        check(unsafe { ssl_create(config.pointer(), &mut handle) })?;
        let (workspace, size) = {
            let arguments = self.call.arguments_with_workspace(1);
            (arguments.workspace, arguments.workspace_size)
        };
        // SAFETY: as above, and the arrays are the call's.
        let result = check(unsafe {
            ssl_forward_backward(
                handle,
                batch.pointer(),
                candidates.pointer(),
                loss.pointer(),
                gradients.pointer(),
                workspace,
                size,
                null_mut(),
            )
        });
        assert_eq!(ssl_destroy(handle), SSL_STATUS_OK);
        result
    }
}

#[test]
fn every_size_from_0_to_4096_is_accepted_or_refused_with_its_number() {
    for (index, (name, known)) in NAMES.into_iter().zip(SIZES).enumerate() {
        for size in 0..=LARGEST {
            let mut pages = Pages::new();
            pages.pages[index].with_size(size as u32);
            let before = pages.call.outputs.clone();
            let result = pages.run();
            if size >= known && size % 8 == 0 {
                result.unwrap_or_else(|failure| panic!("{name} of {size}: {failure:?}"));
                continue;
            }
            // Shorter ones lack fields, which are then 0: some cannot do without.
            let Err(failure) = result else {
                assert!(size >= 8 && size % 8 == 0, "{name} of {size} bytes was accepted");
                continue;
            };
            assert_eq!(failure.status / 1000, 1, "{name} of {size}: {failure:?}");
            assert_eq!(pages.call.outputs, before, "{name} of {size}");
            if size < 8 || size % 8 != 0 {
                let words = format!("{name}.struct_size = {size} ");
                assert_eq!(failure.status, SSL_STATUS_STRUCT_SIZE, "{failure:?}");
                assert!(failure.message.contains(&words), "{}", failure.message);
            }
        }
    }
}

#[test]
fn wild_sizes_are_not_followed() {
    for (index, name) in NAMES.into_iter().enumerate() {
        for size in [4104, 1 << 20, u32::MAX - 7, u32::MAX] {
            let mut pages = Pages::new();
            pages.pages[index].with_size(size);
            let failure = pages.run().unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_STRUCT_SIZE);
            let words = format!("{name}.struct_size = {size} ");
            assert!(failure.message.contains(&words), "{}", failure.message);
        }
    }
}

#[test]
fn newer_fields_that_are_set_are_refused_with_their_place() {
    for (index, (name, known)) in NAMES.into_iter().zip(SIZES).enumerate() {
        for offset in [known, known + 3, known + 15, LARGEST - 1] {
            let mut pages = Pages::new();
            pages.pages[index].with_size(LARGEST as u32).set_byte(offset, 1);
            let before = pages.call.outputs.clone();
            let failure = pages.run().unwrap_err();
            assert_eq!(failure.status, SSL_STATUS_STRUCT_SIZE);
            for word in [name, "4096", &offset.to_string(), &known.to_string()] {
                assert!(failure.message.contains(word), "{}", failure.message);
            }
            assert_eq!(pages.call.outputs, before);
        }
    }
}

#[test]
fn bytes_behind_the_stated_size_are_not_looked_at() {
    for (index, known) in SIZES.into_iter().enumerate() {
        let mut pages = Pages::new();
        pages.pages[index].with_size(known as u32).set_byte(known, 0xFF);
        pages.run().unwrap();
    }
}

/// A caller of the first header with fewer fields: what it does not know is at its
/// default, whatever lies behind its struct.
#[test]
fn shorter_structs_are_extended_with_defaults() {
    let last_fields: [usize; 5] = [
        std::mem::offset_of!(ssl_config, probability_floor),
        std::mem::offset_of!(ssl_batch, ignore_index),
        std::mem::offset_of!(ssl_candidates, avoid),
        std::mem::offset_of!(ssl_loss, device_status),
        std::mem::offset_of!(ssl_gradients, row_capacity),
    ];
    for (index, size) in last_fields.into_iter().enumerate().take(4) {
        let mut pages = Pages::new();
        let mut expected = Pages::new();
        expected.run().unwrap();
        pages.pages[index].with_size(size as u32);
        for offset in size..SIZES[index] {
            pages.pages[index].set_byte(offset, 0xA7);
        }
        pages.run().unwrap_or_else(|failure| panic!("{}: {failure:?}", NAMES[index]));
        let (got, want) = (&pages.call.outputs, &expected.call.outputs);
        assert_eq!((&got.loss, &got.d_weights), (&want.loss, &want.d_weights));
    }
    // Without its last field, sparse gradients have room for 0 rows.
    let mut pages = Pages::new();
    pages.pages[4].with_size(last_fields[4] as u32);
    let failure = pages.run().unwrap_err();
    assert_eq!(failure.status, SSL_STATUS_SHAPE);
    assert!(failure.message.contains("row_capacity = 0"), "{}", failure.message);
}

#[test]
fn null_structs_and_handles_are_named() {
    let case = Case::random([5, 4, 20, 8, 2], &mut Random::new(1));
    let mut call = Call::new(&case);
    let handle = call.handle.pointer();
    let arguments = call.arguments_with_workspace(1);
    let (workspace, size) = (arguments.workspace, arguments.workspace_size);
    for (null, name) in ["handle", "batch", "candidates", "loss", "gradients"].iter().enumerate() {
        let pick = |index: usize| null != index;
        let handle = if pick(0) { handle } else { null_mut() };
        let batch = if pick(1) { &raw const arguments.batch } else { null_mut() };
        let candidates = if pick(2) { &raw const arguments.candidates } else { null_mut() };
        let loss = if pick(3) { &raw const arguments.loss } else { null_mut() };
        let gradients = if pick(4) { &raw const arguments.gradients } else { null_mut() };
        // SAFETY: NULL is refused before anything is followed.
        let statuses = unsafe {
            [
                ssl_forward_backward(handle, batch, candidates, loss, gradients, workspace, size, null_mut()),
                ssl_backward(handle, batch, candidates, loss, gradients, workspace, size, null_mut()),
            ]
        };
        assert_eq!(statuses, [SSL_STATUS_NULL_POINTER; 2], "{name}");
        assert_eq!(common::last_error(), format!("{name} is NULL"));
        if null < 4 {
            // SAFETY: as above.
            let status = unsafe { ssl_forward(handle, batch, candidates, loss, workspace, size, null_mut()) };
            assert_eq!(status, SSL_STATUS_NULL_POINTER, "{name}");
        }
    }
    // SAFETY: as above.
    let status = unsafe { ssl_workspace_size(handle, null_mut(), null_mut(), null_mut()) };
    assert_eq!((status, common::last_error()), (SSL_STATUS_NULL_POINTER, "batch is NULL".into()));
    // SAFETY: as above; both sizes may be NULL.
    let status = unsafe { ssl_workspace_size(handle, &arguments.batch, null_mut(), null_mut()) };
    assert_eq!(status, SSL_STATUS_OK);
    // SAFETY: as above.
    let status = unsafe { ssl_sample(handle, null_mut(), null_mut(), null_mut()) };
    assert_eq!(status, SSL_STATUS_NULL_POINTER);
}

#[test]
fn workspace_sizes_refuse_what_calls_refuse() {
    let config = ssl_config { num_classes: 100, num_sampled: 10, ..default_config() };
    let handle = Handle::create(&config).unwrap();
    let case = Case::random([5, 4, 100, 10, 1], &mut Random::new(1));
    let mut call = Call::new(&case);
    let valid = call.arguments().batch;
    let refused = |change: fn(&mut ssl_batch), status: i32, word: &str| {
        let mut batch = valid;
        change(&mut batch);
        let (mut forward, mut backward) = (123, 456);
        // SAFETY: all pointers lead to live objects.
        let got = unsafe { ssl_workspace_size(handle.pointer(), &batch, &mut forward, &mut backward) };
        assert_eq!(got, status);
        assert!(common::last_error().contains(word), "{}", common::last_error());
        assert_eq!((forward, backward), (123, 456));
    };
    refused(|batch| batch.num_rows = -1, SSL_STATUS_SHAPE, "num_rows");
    refused(|batch| batch.num_rows = i64::MAX, SSL_STATUS_SHAPE, "num_rows");
    refused(|batch| batch.dim = 0, SSL_STATUS_SHAPE, "dim");
    refused(|batch| batch.dim = 1 << 61, SSL_STATUS_SHAPE, "dim");
    refused(|batch| batch.inputs_dtype = 9, SSL_STATUS_DTYPE, "inputs_dtype");
}

#[test]
fn workspace_sizes_do_not_grow_when_rows_shrink() {
    let config = ssl_config { num_classes: 5000, num_sampled: 700, ..default_config() };
    let handle = Handle::create(&config).unwrap();
    let case = Case::random([1, 4, 1, 1, 1], &mut Random::new(1));
    let mut batch = Call::new(&case).arguments().batch;
    for (dim, dtype) in [(4, 0), (64, 1), (512, 2), (100, 3)] {
        (batch.dim, batch.inputs_dtype) = (dim, dtype);
        let mut last = (0, 0);
        for rows in 0..600 {
            batch.num_rows = rows;
            let mut size = (0, 0);
            // SAFETY: all pointers lead to live objects.
            let status = unsafe { ssl_workspace_size(handle.pointer(), &batch, &mut size.0, &mut size.1) };
            assert_eq!(status, SSL_STATUS_OK);
            assert!(size.0 >= last.0 && size.1 >= last.1, "N = {rows}: {size:?} after {last:?}");
            last = size;
        }
    }
}
