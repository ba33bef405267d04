//! Entries of the kernel cache: what is not whole is not loaded, whatever it is, and what is
//! stored in its place is.
#![no_main]

// Compiled here by itself: the library exports nothing of it.
#[allow(dead_code, unreachable_pub)]
#[path = "../../../src/backend/cuda/cache.rs"]
mod cache;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cache::{Cache, Key};
use libfuzzer_sys::fuzz_target;

/// A folder in memory, with one entry in it; that entry's path and its bytes.
static ENTRY: LazyLock<(PathBuf, PathBuf, Vec<u8>)> = LazyLock::new(|| {
    let folder = Path::new("/dev/shm").join(format!("sampled-softmax-fuzz-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    Cache::at(folder.clone()).store(&key(), CONTENTS);
    let entry = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&entry).unwrap();
    (folder, entry, whole)
});

const CONTENTS: &[u8] = b"machine code of some kernel";

fn key() -> Key {
    Key::of(["kernel", "sm_90"])
}

fuzz_target!(|bytes: &[u8]| {
    let (folder, entry, whole) = &*ENTRY;
    let cache = Cache::at(folder.clone());
    // Bytes as they are, or as changes to the entry: pairs of a place and what is xored there,
    // the last byte alone cutting it short.
    let damaged = match bytes.split_first() {
        Some((1, changes)) => {
            let mut damaged = whole.clone();
            for change in changes.chunks(2) {
                match change {
                    [place, bits] => {
                        let len = damaged.len();
                        if len > 0 {
                            damaged[usize::from(*place) % len] ^= bits;
                        }
                    }
                    _ => damaged.truncate(usize::from(change[0])),
                }
            }
            damaged
        }
        _ => bytes.to_vec(),
    };
    fs::write(entry, &damaged).unwrap();
    // The fuzzer learns to write checksums: what is loaded, stored anew, is the same entry.
    match cache.load(&key()) {
        Some(contents) => {
            cache.store(&key(), &contents);
            assert_eq!(fs::read(entry).unwrap(), damaged);
        }
        None => assert_ne!(damaged, *whole),
    }
    assert_eq!(cache.load(&Key::of(["kernel", "sm_80"])), None);
    cache.store(&key(), bytes);
    assert_eq!(cache.load(&key()).as_deref(), Some(bytes));
});
