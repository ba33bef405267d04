//! Draws that wait for the stream: those that depend on labels, and those in a graph. A
//! host function on the stream draws into pinned memory, from which copies behind it
//! bring ids and counts to the device.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::c_void;

use super::arguments::DrawInfo;
use super::slots::{Memory, Pool, Slot, counts_mut};
use crate::abi::SSL_STATUS_PANIC;
use crate::error::Result;
use crate::float_environment::StandardFloats;
use crate::labels::LabelArray;
use crate::sampler::{Draw, Sampler};

/// A draw to be made when the stream gets there.
pub(super) struct HostDraw {
    pub(super) sampler: Arc<Sampler>,
    pub(super) step: u64,
    /// How often it has been made: replay r of a graph draws step + r.
    pub(super) replays: AtomicU64,
    pub(super) num_sampled: usize,
    /// Whether expected counts are float64.
    pub(super) double: bool,
    /// In pinned memory; none where the draw does not depend on them.
    pub(super) labels: LabelArray,
    pub(super) num_true: usize,
    pub(super) ignored: Option<i64>,
    pub(super) exclude_labels: bool,
    pub(super) avoid: Vec<i64>,
    /// Where it goes; expected counts of labels only if they are wanted.
    pub(super) memory: Memory,
}

impl HostDraw {
    /// What a stream calls, with the address of a `HostDraw`.
    ///
    /// # Safety
    /// `draw` leads to one whose slot nobody else uses meanwhile.
    pub(super) unsafe extern "C" fn run(draw: *mut c_void) {
        let _floats = StandardFloats::set();
        // SAFETY: the caller's promise.
        let draw = unsafe { &*draw.cast::<HostDraw>() };
        let outcome = catch_unwind(AssertUnwindSafe(|| draw.draw()));
        let status = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.status(),
            Err(_) => SSL_STATUS_PANIC,
        };
        draw.fail(status);
    }

    fn draw(&self) -> Result<()> {
        let Memory { info, ids, counts, true_counts, .. } = self.memory;
        let step = self.step.wrapping_add(self.replays.fetch_add(1, Ordering::Relaxed));
        // SAFETY: the slot has room for S candidates and these labels, and is the draw's
        // alone while it runs.
        let (labels, ids, sampled, expected_true) = unsafe {
            (
                self.labels.view(),
                std::slice::from_raw_parts_mut(ids, self.num_sampled),
                counts_mut(counts, self.num_sampled, self.double),
                (!true_counts.is_null()).then(|| counts_mut(true_counts, self.labels.count, self.double)),
            )
        };
        let tries = self.sampler.draw(Draw {
            step,
            labels,
            num_true: self.num_true,
            ignored: self.ignored,
            exclude_labels: self.exclude_labels,
            avoid: &self.avoid,
            ids,
            sampled: Some(sampled),
            expected_true,
            learned: None,
        })?;
        // SAFETY: as above.
        unsafe { info.write(DrawInfo { tries, status: 0, pad: 0, replays: 0 }) };
        Ok(())
    }

    /// What kernels are told of a draw that failed: ids of no class, counts that have a
    /// logarithm, and the reason.
    fn fail(&self, status: i32) {
        let Memory { info, ids, counts, true_counts, .. } = self.memory;
        let ones = |counts: *mut u8, count: usize| {
            for index in 0..count {
                // SAFETY: as in `draw`.
                unsafe {
                    match self.double {
                        true => counts.cast::<f64>().add(index).write(1.0),
                        false => counts.cast::<f32>().add(index).write(1.0),
                    }
                }
            }
        };
        // SAFETY: as in `draw`.
        unsafe {
            info.write(DrawInfo { tries: -1, status: status as u32, pad: 0, replays: 0 });
            (0..self.num_sampled).for_each(|index| ids.add(index).write(-1));
        }
        ones(counts, self.num_sampled);
        if !true_counts.is_null() {
            ones(true_counts, self.labels.count);
        }
    }
}

/// A slot that belongs to a graph, and goes back when the graph does.
pub(super) struct GraphDraw {
    slot: Option<Box<Slot>>,
    pool: Arc<Pool>,
}

impl GraphDraw {
    pub(super) fn new(slot: Box<Slot>, pool: Arc<Pool>) -> Box<GraphDraw> {
        Box::new(GraphDraw { slot: Some(slot), pool })
    }
}

impl Drop for GraphDraw {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.give_back_from_graph(slot);
        }
    }
}
