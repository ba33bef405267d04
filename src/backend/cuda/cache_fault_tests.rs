//! The cache where the system fails it: limits, a full disk, writers that are killed, other
//! processes. What must not be survived is tried in a child.

use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, Instant};

use super::tests::{Folder, is_root};
use super::*;

/// Starts a child that runs `body`, and returns its number.
fn child(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child writes files, and ends without returning; the C library keeps its
    // allocator usable in it.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the child without the harness's exit handlers.
        unsafe { libc::_exit(i32::from(!passed)) };
    }
    pid
}

/// Waits for a child; whether it ended by itself, and well.
fn ended_well(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: a child of ours that was not waited for.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Mounts a file system of 64 KiB for this process alone; whether that is allowed here.
fn mount_small(folder: &Path) -> bool {
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).unwrap();
    // SAFETY: asks for numbers, cannot fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let file_system = c"tmpfs".as_ptr();
    // SAFETY: strings that end in NUL.
    unsafe {
        libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) == 0
            && fs::write("/proc/self/setgroups", "deny").is_ok()
            && fs::write("/proc/self/uid_map", format!("{user} {user} 1")).is_ok()
            && fs::write("/proc/self/gid_map", format!("{group} {group} 1")).is_ok()
            && libc::mount(file_system, path.as_ptr(), file_system, 0, c"size=64k".as_ptr().cast()) == 0
    }
}

/// What lies in the cache's folder.
fn names(cache: &Cache) -> Vec<OsString> {
    let mut names: Vec<_> =
        fs::read_dir(&cache.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn numbered(number: usize) -> Key {
    Key::of([number.to_string().as_str()])
}

#[test]
fn a_limit_on_file_sizes_ends_no_process() {
    let folder = Folder::new("limit");
    let (small, large) = (numbered(1), numbered(2));
    let pid = child(|| {
        let limit = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
        // SAFETY: reads one struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
        folder.cache().store(&large, &[1; 100_000]);
        folder.cache().store(&small, &[1; 1000]);
    });
    assert!(ended_well(pid), "the child was ended by a signal");
    assert_eq!(folder.cache().load(&large), None);
    assert_eq!(folder.cache().load(&small), Some(vec![1; 1000]));
    assert_eq!(names(&folder.cache()).len(), 1);
}

#[test]
fn a_full_disk_keeps_what_is_there_and_takes_no_half_entries() {
    let folder = Folder::new("full");
    let pid = child(|| {
        let mounted = mount_small(&folder.0);
        if !mounted {
            eprintln!("NOT RUN: a full disk; no small file system can be mounted here");
            return;
        }
        let cache = folder.cache();
        let contents = |number: usize| vec![number as u8; 6000];
        (0..30).for_each(|number| cache.store(&numbered(number), &contents(number)));
        let stored: Vec<_> = (0..30).map(|number| cache.load(&numbered(number))).collect();
        let count = stored.iter().flatten().count();
        assert!((1..30).contains(&count), "{count} entries on a disk of 64 KiB");
        for (number, entry) in stored.iter().enumerate() {
            assert!(entry.as_ref().is_none_or(|entry| *entry == contents(number)), "{number}");
        }
        assert_eq!(names(&cache).len(), count, "{:?}", names(&cache));
        // With room again, it goes on.
        fs::remove_file(cache.folder.join(numbered(0).file_name())).unwrap();
        cache.store(&numbered(29), &contents(29));
        assert_eq!(cache.load(&numbered(29)), Some(contents(29)));
    });
    assert!(ended_well(pid));
}

#[test]
fn writers_that_are_killed_leave_nothing_that_stays() {
    let folder = Folder::new("killed");
    let cache = folder.cache();
    let contents = vec![3; 3_000_000];
    let mut abandoned = 0;
    for round in 0..12 {
        let pid = child(|| (0..1_000_000).for_each(|number| cache.store(&numbered(number % 3), &contents)));
        let begin = Instant::now();
        while !cache.folder.exists() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the child writes nothing");
        }
        std::thread::sleep(Duration::from_millis(3 + 2 * round));
        // SAFETY: a child of ours.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        assert!(!ended_well(pid));
        abandoned += names(&cache).iter().filter(|name| name.as_bytes().starts_with(b".")).count();
        for number in 0..3 {
            assert!(cache.load(&numbered(number)).is_none_or(|entry| entry == contents));
        }
        // The next process finds order, and keeps it.
        cache.store(&numbered(7), b"code");
        assert!(names(&cache).iter().all(|name| !name.as_bytes().starts_with(b".")), "{:?}", names(&cache));
    }
    assert!(abandoned > 0, "no writer was killed while it wrote");
    assert_eq!(cache.load(&numbered(7)).as_deref(), Some(&b"code"[..]));
}

#[test]
fn a_file_that_is_being_written_is_not_cleaned_away() {
    let folder = Folder::new("living");
    let cache = folder.cache();
    cache.create().unwrap();
    let living = cache.folder.join(".1.0.living.kernel");
    let locked = write(&living, &[b"half"]).unwrap();
    cache.store(&numbered(1), b"code");
    assert!(living.exists());
    drop(locked);
    cache.store(&numbered(2), b"code");
    assert!(!living.exists());
    // What is not a writer's stays.
    fs::write(cache.folder.join(".hidden"), b"").unwrap();
    cache.store(&numbered(3), b"code");
    assert_eq!(names(&cache).len(), 4);
}

#[test]
fn processes_that_fill_it_at_once_see_whole_entries() {
    let folder = Folder::new("processes");
    let cache = folder.cache();
    let contents = |number: usize| vec![number as u8; 50_000 + number];
    let fill = || {
        for round in 0..40 {
            let number = round % 8;
            cache.store(&numbered(number), &contents(number));
            for other in 0..8 {
                let entry = cache.load(&numbered(other));
                assert!(entry.is_none_or(|entry| entry == contents(other)), "{other}");
            }
        }
    };
    let pids = [child(fill), child(fill), child(fill)];
    assert!(pids.map(ended_well).iter().all(|well| *well));
    (0..8).for_each(|number| assert_eq!(cache.load(&numbered(number)), Some(contents(number))));
    assert_eq!(names(&cache).len(), 8);
}

#[test]
fn a_folder_that_goes_is_made_again() {
    let folder = Folder::new("gone");
    folder.cache().store(&numbered(1), b"code");
    fs::remove_dir_all(folder.0.join("deep")).unwrap();
    assert_eq!(folder.cache().load(&numbered(1)), None);
    folder.cache().store(&numbered(1), b"code");
    assert_eq!(folder.cache().load(&numbered(1)).as_deref(), Some(&b"code"[..]));
}

#[test]
fn a_folder_that_is_passed_over_is_told_why() {
    let folder = Folder::new("why");
    let cache = Cache::at(folder.0.clone());
    let set = |mode| fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).unwrap();
    let reason = || cache.trusted().unwrap_err().expect("a reason");
    set(0o777);
    assert!(reason().ends_with("has mode 777: others could put code there"), "{}", reason());
    set(0o700);
    assert_eq!(cache.trusted(), Ok(()));
    assert_eq!(Cache::at(folder.0.join("none")).trusted(), Err(None));
    if is_root() {
        chown(&folder.0, Some(12_345), None).unwrap();
        assert!(reason().ends_with("belongs to user 12345, not 0"), "{}", reason());
    }
}
