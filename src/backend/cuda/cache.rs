//! Compiled kernels on disk, so that a second process need not compile them. An entry is
//! used only if it is whole, and the user's own: it is code that will run in this process.
//! Whatever is wrong with the cache, the kernels are compiled instead; if that fails, the
//! error tells of a folder that was passed over.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use sha2::{Digest, Sha256};

/// First bytes of an entry; another number when the form changes.
const MAGIC: &[u8; 16] = b"ssl kernel no. 1";
const DIGEST: usize = 32;
/// Far above any module, in bytes; what is larger is no entry.
pub(super) const LARGEST: usize = 16 << 20;

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
        self.trusted().ok()?;
        // What is opened is what is checked: no link is followed, no device waited for.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.folder.join(key.file_name()))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || ours(&metadata).is_err() || metadata.len() > LARGEST as u64 {
            return None;
        }
        let mut entry = Vec::new();
        Read::by_ref(&mut file).take(LARGEST as u64).read_to_end(&mut entry).ok()?;
        let (checksum, contents) = entry.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
        if key.checksum(contents) != checksum {
            return None;
        }
        entry.drain(..MAGIC.len() + DIGEST);
        Some(entry)
    }

    /// Keeps an entry, if that can be done. Readers see the old one, or none, until the
    /// new one is whole; of several writers the last wins.
    pub(crate) fn store(&self, key: &Key, contents: &[u8]) {
        let _ = self.create();
        if self.trusted().is_err() || !may_write(MAGIC.len() + DIGEST + contents.len()) {
            return;
        }
        self.remove_abandoned();
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{}.{number}.{}", process::id(), key.file_name()));
        let written = write(&temporary, &[MAGIC, &key.checksum(contents), contents]).and_then(|locked| {
            fs::rename(&temporary, self.folder.join(key.file_name()))?;
            drop(locked);
            Ok(())
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    fn create(&self) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Removes what writers that were killed have left: one that lives has its file locked.
    fn remove_abandoned(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            if !name.as_bytes().starts_with(b".") || !name.as_bytes().ends_with(b".kernel") {
                continue;
            }
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = OpenOptions::new().write(true).custom_flags(flags).open(&path);
            if file.is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Whether there is a folder, and nobody else can have put something there; if there is
    /// one that others could, what it is passed over for.
    pub(crate) fn trusted(&self) -> Result<(), Option<String>> {
        let metadata = fs::metadata(&self.folder).map_err(|_| None)?;
        let whose = if metadata.is_dir() { ours(&metadata) } else { Err("is no folder".into()) };
        whose.map_err(|reason| Some(format!("the kernel cache {} {reason}", self.folder.display())))
    }
}

/// Owned by the user, and writable by nobody else; otherwise what it is instead.
fn ours(metadata: &Metadata) -> Result<(), String> {
    // SAFETY: asks for a number, cannot fail.
    let user = unsafe { libc::geteuid() };
    if metadata.uid() != user {
        return Err(format!("belongs to user {}, not {user}", metadata.uid()));
    }
    match metadata.mode() & 0o7777 {
        mode if mode & 0o022 != 0 => Err(format!("has mode {mode:o}: others could put code there")),
        _ => Ok(()),
    }
}

/// Whether this process may make a file so large: one that tries in spite of its limit gets
/// a signal, which ends it.
fn may_write(bytes: usize) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one struct.
    let code = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    code != 0 || bytes as u64 <= limit.rlim_cur
}

/// The file is locked until it is dropped.
fn write(path: &Path, parts: &[&[u8]]) -> std::io::Result<File> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    // One who cleans up may have been quicker: then there is nothing to rename in the end.
    let _ = file.try_lock();
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "cache_fault_tests.rs"]
mod fault_tests;
