//! The threads of a CPU handle: a fork-join team in which the caller works too.
//!
//! A general pool would allocate queue blocks while running; this one hands out task
//! numbers from one counter and allocates nothing after it is made. Which thread does
//! which task never shows in a result: every task writes its own outputs.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::allocation::reserve_exact;
use crate::backend::threads;
use crate::error::Result;

/// Rounds that a worker looks for a next job before it sleeps: some ten microseconds,
/// more than lies between the phases of one call.
const SPINS: u32 = 4000;

type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// What the present job is; written while `entrance` is closed and nobody inside.
    job: UnsafeCell<Option<Job>>,
    /// Whether workers may enter the present job (OPEN), and how many are inside (in
    /// units of ENTERED). The caller does not wait for workers that have not entered: on
    /// a busy machine they may be asleep long after the work is done.
    entrance: AtomicUsize,
    /// Counts jobs; a change wakes the workers.
    generation: AtomicUsize,
    /// Workers that have begun to run.
    started: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

const OPEN: usize = 1;
const ENTERED: usize = 2;

// SAFETY: `job` is written by the one caller that holds `Team::busy`, before it opens
// the entrance and after it has closed it and everybody has left.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is only used while the caller that set it waits.
unsafe impl Send for Shared {}

/// Threads that wait for work.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    busy: AtomicBool,
    /// The process that made the threads: a forked child has none of them.
    process: u32,
}

impl Team {
    /// A team of `threads` threads, its callers' own among them.
    pub(crate) fn new(threads: usize) -> Result<Team> {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            entrance: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let busy = AtomicBool::new(false);
        let mut team = Team { shared, workers: Vec::new(), busy, process: std::process::id() };
        reserve_exact(&mut team.workers, threads - 1, "the handle's threads")?;
        for worker in 1..threads {
            let shared = Arc::clone(&team.shared);
            let name = format_args!("thread {worker} of num_threads - 1 = {}", threads - 1);
            team.workers.push(threads::spawn(name, move || work(&shared, worker))?);
        }
        // Threads allocate as they start: not later, while some call runs.
        while team.shared.started.load(Ordering::Acquire) < team.workers.len() {
            thread::yield_now();
        }
        Ok(team)
    }

    /// Threads that a job can run on at once.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(worker, number)` for every number below `tasks`, each once, in any
    /// order. Runs them all on the calling thread if `alone` says that they are too
    /// little to share, while another call has the team, or in a forked child.
    pub(crate) fn run(&self, alone: bool, tasks: usize, task: impl Fn(usize, usize) + Sync) {
        let serial = || (0..tasks).for_each(|number| task(0, number));
        if alone || tasks < 2 || self.workers.is_empty() || self.process != std::process::id() {
            return serial();
        }
        if self.busy.swap(true, Ordering::Acquire) {
            return serial();
        }
        let next = AtomicUsize::new(0);
        self.fork_join(&|worker| {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return;
                }
                task(worker, number);
            }
        });
        self.busy.store(false, Ordering::Release);
    }

    fn fork_join(&self, job: &(dyn Fn(usize) + Sync)) {
        let shared = &self.shared;
        // SAFETY: only the lifetime changes, and this function returns after all workers
        // have left the job. `busy` is ours and the entrance closed, so none looks at it.
        unsafe {
            let job: &'static (dyn Fn(usize) + Sync) = std::mem::transmute(job);
            *shared.job.get() = Some(job);
        }
        shared.entrance.store(OPEN, Ordering::Release);
        shared.generation.fetch_add(1, Ordering::Release);
        self.workers.iter().for_each(|worker| worker.thread().unpark());

        let own = catch_unwind(AssertUnwindSafe(|| job(0)));
        shared.entrance.fetch_and(!OPEN, Ordering::Relaxed);
        let mut spins = 0;
        while shared.entrance.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS { spin_loop() } else { thread::yield_now() }
        }
        let other = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = own.err().or(other) {
            self.busy.store(false, Ordering::Release);
            resume_unwind(payload);
        }
    }
}

fn work(shared: &Shared, worker: usize) {
    shared.started.fetch_add(1, Ordering::Release);
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.generation.load(Ordering::Acquire) == seen {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            spins += 1;
            if spins < SPINS { spin_loop() } else { thread::park() }
        }
        seen = shared.generation.load(Ordering::Acquire);
        let enter = |entrance| (entrance & OPEN != 0).then_some(entrance + ENTERED);
        if shared.entrance.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_err() {
            continue;
        }
        // SAFETY: the open entrance has released the job, and its caller waits for those
        // inside.
        let outcome =
            unsafe { (*shared.job.get()).map(|job| catch_unwind(AssertUnwindSafe(|| (*job)(worker)))) };
        if let Some(Err(payload)) = outcome {
            *shared.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
        }
        shared.entrance.fetch_sub(ENTERED, Ordering::Release);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The threads live in the parent; there is nothing here to wait for.
            std::mem::forget(std::mem::take(&mut self.workers));
            return;
        }
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its panics, so there is none to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let team = Team::new(threads).unwrap();
            for tasks in [0, 1, 2, 100] {
                let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                team.run(false, tasks, |worker, task| {
                    assert!(worker < threads);
                    done[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn callers_on_several_threads_all_get_their_work_done() {
        let team = Team::new(3).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = AtomicUsize::new(0);
                        team.run(false, 10, |_, task| {
                            sum.fetch_add(task, Ordering::Relaxed);
                        });
                        assert_eq!(sum.load(Ordering::Relaxed), 45);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_in_any_thread_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(2).unwrap();
        for bad in 0..2 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                team.run(false, 2, |_, task| assert!(task != bad, "task {task}"));
            }));
            assert!(caught.is_err());
            let sum = AtomicUsize::new(0);
            team.run(false, 4, |_, task| {
                sum.fetch_add(task, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 6);
        }
    }
}
