//! The thread that draws what the next call will probably ask for: the step behind the
//! last one. A draw then costs the caller nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::slots::{Pool, Slot};
use crate::backend::threads;
use crate::error::Result;
use crate::sampler::{ExpectedCount, Sampler};

/// Which draw, and in which type its expected counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) step: u64,
    pub(super) double: bool,
}

/// A draw in its slot.
pub(super) struct Drawn {
    pub(super) slot: Box<Slot>,
    pub(super) tries: i64,
    pub(super) rule: ExpectedCount,
}

/// The thread and what it is doing.
pub(super) struct Ahead {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pool: Arc<Pool>,
    sampler: Arc<Sampler>,
}

#[derive(Default)]
struct State {
    wanted: Option<Wish>,
    working: Option<Wish>,
    done: Option<(Wish, Drawn)>,
    stop: bool,
}

impl Ahead {
    pub(super) fn new(pool: &Arc<Pool>, sampler: &Arc<Sampler>) -> Result<Ahead> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            pool: Arc::clone(pool),
            sampler: Arc::clone(sampler),
        });
        let theirs = Arc::clone(&shared);
        let thread = threads::spawn("the thread that draws ahead", move || theirs.work())?;
        Ok(Ahead { shared, thread: Some(thread) })
    }

    /// The draw, if the thread has made it or is making it; else the slot of one that was
    /// foreseen in vain, if there is any. What the thread has not begun the caller does
    /// sooner itself.
    pub(super) fn take(&self, wish: Wish) -> std::result::Result<Drawn, Option<Box<Slot>>> {
        let mut state = self.shared.lock();
        state.wanted = None;
        while state.working == Some(wish) {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.done.take() {
            Some((done, drawn)) if done == wish => Ok(drawn),
            Some((_, drawn)) => Err(Some(drawn.slot)),
            None => Err(None),
        }
    }

    /// Asks for the draw of a later call.
    pub(super) fn ask(&self, wish: Wish) {
        let mut state = self.shared.lock();
        let known = state.working == Some(wish) || matches!(&state.done, Some((done, _)) if *done == wish);
        if !known {
            state.wanted = Some(wish);
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some((_, drawn)) = self.shared.lock().done.take() {
            self.shared.pool.give_back(drawn.slot);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        while !state.stop {
            let Some(wish) = state.wanted.take() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.working = Some(wish);
            let stale = state.done.take();
            drop(state);
            let stale = stale.map(|(_, drawn)| drawn.slot);
            // After a panic the call that wants the draw makes it, and tells.
            let drawn = catch_unwind(AssertUnwindSafe(|| self.draw(wish, stale))).ok().flatten();
            state = self.lock();
            state.working = None;
            state.done = drawn.map(|drawn| (wish, drawn));
            self.changed.notify_all();
        }
    }

    /// A draw that fails here fails again in the call that wants it, which then tells why.
    fn draw(&self, wish: Wish, slot: Option<Box<Slot>>) -> Option<Drawn> {
        let mut slot = match slot {
            Some(slot) => slot,
            None => self.pool.take().ok()?,
        };
        match slot.draw(&self.sampler, wish.step, wish.double, &[]) {
            Ok((tries, rule)) => Some(Drawn { slot, tries, rule }),
            Err(_) => {
                self.pool.give_back(slot);
                None
            }
        }
    }
}
