//! Vocabulary files as a machine may have them: pipes, links, files without permission,
//! of any length, changed while they are read. None hangs a call, and none is half read.
#![cfg(unix)]

mod common;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::own_process::in_own_process;
use common::{Failure, Handle, default_config};
use sampled_softmax::abi::*;

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sampled-softmax-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

/// A handle on the classes of a file, by a thread of its own that is given up if it hangs.
fn create(path: &Path, num_classes: i64) -> Result<Handle, Failure> {
    let (path, (answer, answered)) = (c_string(path), mpsc::channel());
    thread::spawn(move || {
        let config = ssl_config {
            sampler: SSL_SAMPLER_FIXED_UNIGRAM,
            num_classes,
            num_sampled: 1,
            num_threads: 1,
            vocab_file: path.as_ptr(),
            ..default_config()
        };
        answer.send(Handle::create(&config)).unwrap();
    });
    answered.recv_timeout(Duration::from_secs(60)).expect("ssl_create hangs")
}

fn refused(path: &Path, num_classes: i64, status: ssl_status, words: &str) {
    let failure = create(path, num_classes).unwrap_err();
    assert_eq!(failure.status, status, "{}", failure.message);
    assert!(failure.message.contains(words), "{}", failure.message);
    assert!(failure.message.contains(path.to_str().unwrap()), "{}", failure.message);
}

#[test]
fn a_pipe_is_refused_with_and_without_a_writer() {
    let folder = Folder::new("pipe");
    let pipe = folder.0.join("pipe");
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(c_string(&pipe).as_ptr(), 0o600) }, 0);
    refused(&pipe, 2, SSL_STATUS_FILE, "not a regular file");
    let mut writer = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    writer.write_all(b"a,1\nb,2\n").unwrap();
    refused(&pipe, 2, SSL_STATUS_FILE, "not a regular file");
}

#[test]
fn links_are_followed_and_loops_end() {
    let folder = Folder::new("links");
    let (link, ring) = (folder.0.join("link"), folder.0.join("ring"));
    symlink(folder.file("vocabulary", b"a,1\nb,2\n"), &link).unwrap();
    create(&link, 2).unwrap();
    symlink(&ring, &ring).unwrap();
    refused(&ring, 2, SSL_STATUS_FILE, "ymbolic link");
    fs::remove_file(folder.0.join("vocabulary")).unwrap();
    refused(&link, 2, SSL_STATUS_FILE, "No such file");
}

/// A terabyte of zeros, none of which takes up space.
#[test]
fn a_huge_file_is_refused_at_once() {
    let folder = Folder::new("huge");
    let path = folder.file("sparse", b"a,1\n");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    refused(&path, 2, SSL_STATUS_FILE, "line 2 is longer than 1048576 bytes");
}

#[test]
fn truncated_and_binary_files_name_the_line() {
    let folder = Folder::new("damaged");
    refused(&folder.file("truncated", b"a,1\nb,2\nc,"), 3, SSL_STATUS_FILE, "line 3");
    refused(&folder.file("binary", &[0, 159, 146, 150, b'\n', 255]), 2, SSL_STATUS_FILE, "line 1");
    refused(&folder.file("empty", b""), 1, SSL_STATUS_INVALID_VALUE, "0 classes");
}

#[test]
fn a_file_need_only_be_readable() {
    in_own_process(
        a_file_need_only_be_readable,
        "all",
        |_| (),
        || {
            let folder = Folder::new("modes");
            let path = folder.file("vocabulary", b"a,1\nb,2\n");
            fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
            // SAFETY: asks for a number; then only this process becomes somebody else, whom
            // permissions stop.
            if unsafe { libc::geteuid() } == 0 {
                // SAFETY: as above.
                assert_eq!(unsafe { libc::seteuid(65_534) }, 0);
            }
            create(&path, 2).unwrap();
            // SAFETY: back again, where this process was root.
            unsafe { libc::seteuid(libc::getuid()) };
            fs::set_permissions(&path, Permissions::from_mode(0o0)).unwrap();
            // SAFETY: as above.
            if unsafe { libc::geteuid() } == 0 {
                // SAFETY: as above.
                assert_eq!(unsafe { libc::seteuid(65_534) }, 0);
            }
            refused(&path, 2, SSL_STATUS_FILE, "ermission denied");
            // SAFETY: as above.
            unsafe { libc::seteuid(libc::getuid()) };
        },
    );
}

/// By a rename, as editors and pipelines do it: what was opened is what is read.
#[test]
fn a_file_that_is_replaced_meanwhile_is_read_as_one_of_both() {
    let folder = Folder::new("replaced");
    let lines = |count: usize| "word,1\n".repeat(count);
    let (short, long) = (lines(2_000), lines(3_000));
    let path = folder.file("vocabulary", short.as_bytes());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for content in [&long, &short].into_iter().cycle() {
                fs::rename(folder.file("next", content.as_bytes()), &path).unwrap();
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..50 {
            match create(&path, 2_000) {
                Ok(_) => {}
                Err(failure) => assert!(failure.message.contains("has 3000 classes"), "{failure:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A writer that never ends is not waited for: the file ends where it did when it was opened.
#[test]
fn a_file_that_grows_meanwhile_has_an_end() {
    let folder = Folder::new("growing");
    let path = folder.file("vocabulary", b"word,1\n");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            let lines = "word,1\n".repeat(1000);
            while !stop.load(Ordering::Relaxed) && file.metadata().unwrap().len() < 1 << 24 {
                file.write_all(lines.as_bytes()).unwrap();
            }
        });
        for _ in 0..10 {
            if let Err(failure) = create(&path, 1) {
                // As many lines as are there already, or the last of them cut in two.
                let likely = [SSL_STATUS_INVALID_VALUE, SSL_STATUS_FILE];
                assert!(likely.contains(&failure.status), "{}", failure.message);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
