//! Compiled kernels on disk, so that a second process need not compile them. An entry is
//! used only if it is the user's own and whole; whatever is wrong with the cache, the
//! kernels are compiled instead, and nobody is told.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use sha2::{Digest, Sha256};

/// First bytes of an entry; another number when the form changes.
const MAGIC: &[u8; 16] = b"ssl kernel no. 1";
const DIGEST: usize = 32;
/// Far above any module; what is larger is no entry.
const LARGEST: u64 = 64 << 20;

/// Name of an entry: all that its contents follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; DIGEST]);

impl Key {
    /// The key of these parts, in this order.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Key {
        let mut hash = Sha256::new();
        for part in parts {
            // Lengths keep ("ab", "c") apart from ("a", "bc").
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Key(hash.finalize().into())
    }

    fn file_name(&self) -> String {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        hex + ".kernel"
    }

    fn checksum(&self, contents: &[u8]) -> [u8; DIGEST] {
        Sha256::new().chain_update(self.0).chain_update(contents).finalize().into()
    }
}

/// A folder of entries.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The user's: SAMPLED_SOFTMAX_CACHE_DIR (empty: none), else `sampled-softmax` in
    /// XDG_CACHE_HOME, else in ~/.cache.
    pub(crate) fn of_user() -> Option<Cache> {
        let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = match env::var_os("SAMPLED_SOFTMAX_CACHE_DIR") {
            Some(folder) if folder == OsStr::new("") => return None,
            Some(folder) => PathBuf::from(folder),
            None => absolute(env::var_os("XDG_CACHE_HOME"))
                .or_else(|| absolute(env::var_os("HOME")).map(|home| home.join(".cache")))?
                .join("sampled-softmax"),
        };
        Some(Cache::at(folder))
    }

    pub(crate) fn at(folder: PathBuf) -> Cache {
        Cache { folder }
    }

    /// An entry's contents, `None` if it is not there, not the user's, or not whole.
    pub(crate) fn load(&self, key: &Key) -> Option<Vec<u8>> {
        if !self.is_trusted() {
            return None;
        }
        // What is opened is what is checked: no link is followed, no device waited for.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.folder.join(key.file_name()))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !is_ours(&metadata) || metadata.len() > LARGEST {
            return None;
        }
        let mut entry = Vec::new();
        Read::by_ref(&mut file).take(LARGEST).read_to_end(&mut entry).ok()?;
        let entry = entry.strip_prefix(MAGIC)?;
        let (checksum, contents) = entry.split_at_checked(DIGEST)?;
        (key.checksum(contents) == checksum).then(|| contents.to_vec())
    }

    /// Keeps an entry, if that can be done. Readers see the old one, or none, until the
    /// new one is whole; of several writers the last wins.
    pub(crate) fn store(&self, key: &Key, contents: &[u8]) {
        let _ = self.create();
        if !self.is_trusted() {
            return;
        }
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{}.{number}.{}", process::id(), key.file_name()));
        let written = write(&temporary, &[MAGIC, &key.checksum(contents), contents])
            .and_then(|()| fs::rename(&temporary, self.folder.join(key.file_name())));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    fn create(&self) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Whether nobody else can have put something there.
    fn is_trusted(&self) -> bool {
        fs::metadata(&self.folder).is_ok_and(|metadata| metadata.is_dir() && is_ours(&metadata))
    }
}

/// Owned by the user, and writable by nobody else.
fn is_ours(metadata: &Metadata) -> bool {
    // SAFETY: asks for a number, cannot fail.
    let user = unsafe { libc::geteuid() };
    metadata.uid() == user && metadata.mode() & 0o022 == 0
}

fn write(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
