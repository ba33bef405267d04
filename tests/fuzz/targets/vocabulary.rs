//! Vocabulary files, through `ssl_create`: refused with the file or the field named, or read
//! as a vocabulary of as many classes as asked for, of which those of weight 0 are not drawn.
#![no_main]

#[path = "../../common/mod.rs"]
mod common;

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{null, null_mut};

use common::{Handle, check, default_config};
use libfuzzer_sys::fuzz_target;
use sampled_softmax::abi::*;
use sampled_softmax::capi::ssl_sample;

/// A file without a folder.
fn memory_file(content: &[u8]) -> File {
    // SAFETY: a NUL-terminated name; the descriptor is the file's alone.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"vocabulary".as_ptr(), 0);
        assert!(descriptor >= 0);
        File::from_raw_fd(descriptor)
    };
    file.write_all(content).unwrap();
    file
}

/// Lines that are some class, as the manual counts them.
fn lines(content: &[u8]) -> usize {
    let is_class = |line: &&[u8]| line.iter().any(|byte| *byte != b'\r');
    content.split(|byte| *byte == b'\n').filter(is_class).count()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choices, content)) = bytes.split_first_chunk::<5>() else { return };
    let file = memory_file(content);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let vocab_file = CString::new(path.clone()).unwrap();
    let [classes, reserved, shards, shard, distortion] = choices.map(u32::from);
    let exact = (lines(content) + reserved as usize) as i64;
    let config = ssl_config {
        sampler: SSL_SAMPLER_FIXED_UNIGRAM,
        sampling: SSL_SAMPLING_REPLACEMENT,
        num_classes: if classes % 4 == 0 { i64::from(classes) } else { exact.max(1) },
        num_sampled: 3,
        num_threads: 1,
        vocab_file: vocab_file.as_ptr(),
        num_reserved_ids: i64::from(reserved),
        num_shards: if shards < 200 { 0 } else { shards - 200 },
        shard: if shards < 200 { 0 } else { shard % 8 },
        has_distortion: u32::from(distortion > 0),
        distortion: f64::from(distortion as u8 as i8) / 16.0,
        ..default_config()
    };
    let handle = match Handle::create(&config) {
        Ok(handle) => handle,
        Err(failure) => {
            let known = match failure.status {
                SSL_STATUS_FILE => failure.message.contains(&path),
                SSL_STATUS_INVALID_VALUE => {
                    let fields = ["num_classes", "vocab_file", "shard", "num_sampled"];
                    fields.iter().any(|field| failure.message.contains(field))
                }
                _ => false,
            };
            assert!(known, "{failure:?}");
            return;
        }
    };
    let total = exact as u32;
    let (shards, first) = (config.num_shards.max(1), config.shard);
    assert_eq!(config.num_classes, i64::from(total.saturating_sub(first).div_ceil(shards)));
    let (mut ids, mut counts) = ([-1; 3], [0.0_f64; 3]);
    let candidates = ssl_candidates {
        struct_size: size_of::<ssl_candidates>() as u32,
        source: SSL_CANDIDATES_DRAW,
        counts_dtype: SSL_DTYPE_FLOAT64,
        reserved: 0,
        step: 0,
        ids: ids.as_mut_ptr(),
        sampled_expected_count: counts.as_mut_ptr().cast(),
        true_expected_count: null_mut(),
        avoid: null(),
        num_avoid: 0,
        num_tries: null_mut(),
        learned_counts: null_mut(),
    };
    // SAFETY: three ids and counts are there; a NULL batch means no labels.
    check(unsafe { ssl_sample(handle.pointer(), null(), &candidates, null_mut()) }).unwrap();
    for (id, count) in ids.into_iter().zip(counts) {
        assert!((0..config.num_classes).contains(&id), "{ids:?}");
        let of_all = u32::try_from(id).unwrap() * shards + first;
        assert!(of_all >= reserved, "reserved id {of_all} was drawn");
        assert!(count > 0.0 && count <= 3.0, "{counts:?}");
    }
});
