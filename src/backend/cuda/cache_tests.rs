use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::thread;

use super::*;

/// A folder of this test's own, removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Folder {
        let path = env::temp_dir().join(format!("sampled-softmax-cache-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub(super) fn cache(&self) -> Cache {
        Cache::at(self.0.join("deep/kernels"))
    }

    fn entry(&self, key: &Key) -> PathBuf {
        self.0.join("deep/kernels").join(key.file_name())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn is_root() -> bool {
    // SAFETY: asks for a number, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn what_was_stored_is_loaded_under_its_key_alone() {
    let folder = Folder::new("stored");
    let (key, other) = (Key::of(["source", "sm_90"]), Key::of(["source", "sm_80"]));
    folder.cache().store(&key, b"machine code");
    assert_eq!(folder.cache().load(&key).as_deref(), Some(&b"machine code"[..]));
    assert_eq!(folder.cache().load(&other), None);
    // A renamed entry is not mistaken for the one it is named after.
    fs::rename(folder.entry(&key), folder.entry(&other)).unwrap();
    assert_eq!(folder.cache().load(&other), None);
}

#[test]
fn every_part_and_every_boundary_between_parts_makes_another_key() {
    let keys = [
        Key::of(["ab", "c"]),
        Key::of(["a", "bc"]),
        Key::of(["abc"]),
        Key::of(["ab", "c", ""]),
        Key::of(["ab", "d"]),
    ];
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[..place].contains(key), "{place}");
    }
}

#[test]
fn folder_and_entries_are_the_users_alone() {
    let folder = Folder::new("modes");
    let key = Key::of(["modes"]);
    folder.cache().store(&key, b"code");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0.join("deep/kernels")), 0o700);
    assert_eq!(mode(&folder.entry(&key)), 0o600);
}

#[test]
fn a_damaged_entry_is_not_loaded_and_is_replaced() {
    let folder = Folder::new("damaged");
    let key = Key::of(["damaged"]);
    let contents = vec![7u8; 1000];
    folder.cache().store(&key, &contents);
    let whole = fs::read(folder.entry(&key)).unwrap();
    let truncated = (0..whole.len()).step_by(97).map(|length| whole[..length].to_vec());
    let flipped = (0..whole.len()).step_by(89).map(|place| {
        let mut entry = whole.clone();
        entry[place] ^= 1;
        entry
    });
    let longer = std::iter::once([whole.as_slice(), &[0]].concat());
    for damaged in truncated.chain(flipped).chain(longer) {
        fs::write(folder.entry(&key), &damaged).unwrap();
        assert_eq!(folder.cache().load(&key), None, "{} bytes", damaged.len());
    }
    folder.cache().store(&key, &contents);
    assert_eq!(folder.cache().load(&key), Some(contents));
}

#[test]
fn an_entry_that_is_no_plain_file_is_not_loaded() {
    let folder = Folder::new("links");
    let (key, elsewhere) = (Key::of(["links"]), folder.0.join("elsewhere"));
    folder.cache().store(&key, b"code");
    fs::rename(folder.entry(&key), &elsewhere).unwrap();
    symlink(&elsewhere, folder.entry(&key)).unwrap();
    assert_eq!(folder.cache().load(&key), None);
    // Storing replaces the link, and leaves what it points to alone.
    let before = fs::read(&elsewhere).unwrap();
    folder.cache().store(&key, b"other code");
    assert_eq!(folder.cache().load(&key).as_deref(), Some(&b"other code"[..]));
    assert_eq!(fs::read(&elsewhere).unwrap(), before);

    fs::remove_file(folder.entry(&key)).unwrap();
    let pipe = std::ffi::CString::new(folder.entry(&key).into_os_string().into_encoded_bytes()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    assert_eq!(folder.cache().load(&key), None);
}

#[test]
fn a_folder_or_entry_that_others_may_write_is_not_trusted() {
    let folder = Folder::new("writable");
    let key = Key::of(["writable"]);
    folder.cache().store(&key, b"code");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o770, 0o702] {
        set(&folder.0.join("deep/kernels"), mode);
        assert_eq!(folder.cache().load(&key), None, "{mode:o}");
        let second = Key::of(["second"]);
        folder.cache().store(&second, b"code");
        assert!(!folder.entry(&second).exists(), "{mode:o}");
    }
    set(&folder.0.join("deep/kernels"), 0o700);
    set(&folder.entry(&key), 0o620);
    assert_eq!(folder.cache().load(&key), None);
    set(&folder.entry(&key), 0o600);
    assert!(folder.cache().load(&key).is_some());
}

#[test]
fn what_another_user_owns_is_not_trusted() {
    if !is_root() {
        // Only root can make files of another user's; the same check serves both.
        return;
    }
    let folder = Folder::new("foreign");
    let key = Key::of(["foreign"]);
    folder.cache().store(&key, b"code");
    chown(folder.entry(&key), Some(12_345), None).unwrap();
    assert_eq!(folder.cache().load(&key), None);
    chown(folder.entry(&key), Some(0), None).unwrap();
    chown(folder.0.join("deep/kernels"), Some(12_345), None).unwrap();
    assert_eq!(folder.cache().load(&key), None);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_failure() {
    let folder = Folder::new("unwritable");
    let key = Key::of(["unwritable"]);
    // A file stands where the folder should be; permissions would not stop root.
    fs::write(folder.0.join("deep"), b"").unwrap();
    folder.cache().store(&key, b"code");
    assert_eq!(folder.cache().load(&key), None);
    fs::remove_file(folder.0.join("deep")).unwrap();

    if !is_root() {
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o500)).unwrap();
        folder.cache().store(&key, b"code");
        assert_eq!(folder.cache().load(&key), None);
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn readers_among_writers_see_whole_entries_and_no_litter_stays() {
    let folder = Folder::new("concurrent");
    let key = Key::of(["concurrent"]);
    let contents = |writer: usize| vec![writer as u8; 100_000 + writer];
    folder.cache().store(&key, &contents(0));
    thread::scope(|scope| {
        for writer in 0..4 {
            let folder = &folder;
            scope.spawn(move || (0..20).for_each(|_| folder.cache().store(&key, &contents(writer))));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let entry = folder.cache().load(&key).expect("an entry is always there");
                    assert_eq!(entry, contents(usize::from(entry[0])));
                }
            });
        }
    });
    let names: Vec<_> =
        fs::read_dir(folder.0.join("deep/kernels")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [folder.entry(&key)]);
}
