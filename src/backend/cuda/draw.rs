//! One draw on its way to the device: what the stream calls and copies.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::ahead::Wish;
use super::arguments::{Address, TrueCountsArgs};
use super::capture::{GraphDraw, HostDraw};
use super::catalogue::Small;
use super::device_draw::DeviceDraw;
use super::graph::Capture;
use super::launch::Queue;
use super::pointers::Stream;
use super::sampling::Sampling;
use super::slots::{Memory, Slot};
use crate::args::Candidates;
use crate::error::Result;
use crate::labels::LabelArray;
use crate::sampler::ExpectedCount;

/// A draw that a call asks for.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) candidates: &'a Candidates<'a>,
    /// On the device.
    pub(super) labels: LabelArray,
    pub(super) ignored: Option<i64>,
}

/// How a draw comes to the stream.
pub(super) enum Source<'a> {
    /// It lies in the slot.
    Known { tries: i64, rule: ExpectedCount },
    /// The stream makes it. The rule is known where no label decides on it.
    Later { rule: Option<ExpectedCount> },
    /// The device makes it.
    Device { on_device: &'a DeviceDraw, rule: ExpectedCount },
}

/// A draw that can be put on the stream: the sampler has nothing against it.
pub(super) struct Draw<'a> {
    sampling: &'a Sampling,
    request: Request<'a>,
    source: Source<'a>,
    /// `None` once a graph has it.
    slot: Option<Box<Slot>>,
    memory: Memory,
    capture: Option<Capture>,
    stream: Stream,
    /// Whether something on the stream may read the slot.
    started: bool,
}

impl<'a> Draw<'a> {
    pub(super) fn new(
        sampling: &'a Sampling,
        request: Request<'a>,
        source: Source<'a>,
        slot: Box<Slot>,
        (stream, capture): (Stream, Option<Capture>),
    ) -> Result<Draw<'a>> {
        let memory = slot.memory();
        let slot = Some(slot);
        let mut draw = Draw { sampling, request, source, slot, memory, capture, stream, started: false };
        if draw.is_late()
            && let Some(slot) = &mut draw.slot
        {
            slot.keep(request.candidates.avoid)?;
        }
        Ok(draw)
    }

    fn is_late(&self) -> bool {
        matches!(self.source, Source::Later { .. })
    }

    /// Whether labels have to be at the host before the draw.
    fn waits_for_labels(&self) -> bool {
        self.is_late() && self.sampling.waits_for_labels(&self.request.labels)
    }

    /// Where the device has to look for the outcome of a draw that the stream makes.
    pub(super) fn late_info(&self) -> Address {
        if matches!(self.source, Source::Known { .. }) { 0 } else { self.memory.info as Address }
    }

    /// What the device has to compute for the labels.
    pub(super) fn true_counts(&self) -> Option<TrueCountsArgs> {
        let rule = match self.source {
            Source::Known { rule, .. } | Source::Device { rule, .. } => rule,
            // Another replay may need another number of tries, so the device looks at it.
            Source::Later { rule: Some(ExpectedCount::Proportional(_)) }
                if self.sampling.sampler.is_unique() =>
            {
                ExpectedCount::Inclusion(0.0)
            }
            Source::Later { rule } => rule?,
        };
        self.sampling.true_counts(rule, &self.request, self.memory.info as Address)
    }

    /// Puts the draw on the stream; in a rehearsal, sees that it can be.
    ///
    /// # Safety
    /// The arrays of the request exist on the device.
    pub(super) unsafe fn enqueue(&mut self, queue: &Queue<'_>, small: &Small) -> Result<()> {
        self.started |= !queue.rehearsal;
        if let Source::Device { on_device, rule } = self.source {
            // SAFETY: the caller's promise.
            return unsafe { self.draw_on_device(on_device, rule, queue, small) };
        }
        if queue.rehearsal {
            return Ok(());
        }
        // SAFETY: the caller's promise; a slot lives until its event or its graph is done.
        unsafe {
            if self.is_late() {
                self.draw_later(queue)?;
            }
            self.copy(queue)
        }
    }

    /// Ids and expected counts by kernels, to where the caller wants them.
    unsafe fn draw_on_device(
        &mut self,
        on_device: &DeviceDraw,
        rule: ExpectedCount,
        queue: &Queue<'_>,
        small: &Small,
    ) -> Result<()> {
        let (sampling, candidates) = (self.sampling, *self.request.candidates);
        if let (false, Some(capture), Some(pool)) = (queue.rehearsal, &self.capture, &sampling.pool)
            && let Some(slot) = self.slot.take()
        {
            queue.entered.give_to_graph(capture, GraphDraw::new(slot, Arc::clone(pool)))?;
        }
        // What labels are to `true_counts`, the ids are here.
        let ids = LabelArray { data: candidates.ids.cast(), wide: true, count: candidates.num_sampled };
        let counted = Candidates { true_counts: candidates.sampled_counts, ..candidates };
        let request = Request { candidates: &counted, labels: ids, ignored: None };
        let info = self.memory.info as Address;
        // SAFETY: the caller's promise; a slot lives until its event or its graph is done.
        unsafe {
            let unique = sampling.sampler.is_unique();
            on_device.enqueue(&candidates, &self.memory, queue, small, unique)?;
            match sampling.true_counts(rule, &request, info) {
                Some(counts) => {
                    queue.cover(small.true_counts, counts.count as usize, small.true_counts.rows, &counts)
                }
                None => Ok(()),
            }
        }
    }

    /// Lets the stream call the sampler.
    unsafe fn draw_later(&mut self, queue: &Queue<'_>) -> Result<()> {
        let (sampling, labels) = (self.sampling, self.request.labels);
        let waits = self.waits_for_labels();
        let Candidates { step, double, num_sampled, true_counts, .. } = *self.request.candidates;
        let Some(mut slot) = self.slot.take() else { return Ok(()) };
        let mut memory = self.memory;
        if !waits || true_counts.is_null() {
            memory.true_counts = std::ptr::null_mut();
        }
        let task = std::ptr::from_mut(slot.task.insert(HostDraw {
            sampler: Arc::clone(&sampling.sampler),
            step,
            replays: AtomicU64::new(0),
            num_sampled,
            double,
            labels: if waits { LabelArray { data: memory.labels, ..labels } } else { LabelArray::NONE },
            num_true: sampling.num_true,
            ignored: self.request.ignored,
            exclude_labels: sampling.exclude_labels,
            avoid: std::mem::take(&mut slot.avoid),
            memory,
        }));
        match (&self.capture, &sampling.pool) {
            (Some(capture), Some(pool)) => {
                queue.entered.give_to_graph(capture, GraphDraw::new(slot, Arc::clone(pool)))?;
            }
            _ => self.slot = Some(slot),
        }
        // SAFETY: the labels are the caller's promise, and the slot has room for them; the
        // task lies in the slot, which is on the heap and does not move.
        unsafe {
            if waits && labels.count > 0 {
                let bytes = labels.count * labels.size();
                let (to, from) = (memory.labels.cast(), labels.data as Address);
                queue.entered.copy_to_host_async(to, from, bytes, queue.stream)?;
            }
            queue.entered.launch_host_function(queue.stream, HostDraw::run, task.cast())
        }
    }

    /// Copies ids and counts to where the caller wants them.
    unsafe fn copy(&self, queue: &Queue<'_>) -> Result<()> {
        let Candidates { ids, sampled_counts, true_counts, double, num_sampled, num_labels, .. } =
            *self.request.candidates;
        let width = if double { size_of::<f64>() } else { size_of::<f32>() };
        let copied_labels = if self.waits_for_labels() { num_labels } else { 0 };
        let copies = [
            (ids.cast::<u8>(), self.memory.ids.cast::<u8>(), num_sampled * size_of::<i64>()),
            (sampled_counts, self.memory.counts, num_sampled * width),
            (true_counts, self.memory.true_counts, copied_labels * width),
        ];
        for (to, from, bytes) in copies {
            if !to.is_null() && bytes > 0 {
                // SAFETY: the caller's arrays and the slot's have these bytes.
                unsafe {
                    queue.entered.copy_to_device_async(to as Address, from.cast(), bytes, queue.stream)?
                };
            }
        }
        Ok(())
    }

    /// Ends a draw whose kernels are all on the stream: its slot serves again when they
    /// have run, the caller learns the tries, and the next step is drawn ahead.
    ///
    /// # Safety
    /// `num_tries` is NULL or writable.
    pub(super) unsafe fn finish(mut self, queue: &Queue<'_>) -> Result<()> {
        if let (Some(slot), Some(pool)) = (self.slot.take(), &self.sampling.pool) {
            pool.give_back_after(slot, queue.entered, queue.stream)?;
        }
        let Candidates { step, double, avoid, num_tries, .. } = *self.request.candidates;
        if !num_tries.is_null() {
            let tries = if let Source::Known { tries, .. } = self.source { tries } else { -1 };
            // SAFETY: the caller's promise.
            unsafe { num_tries.write(tries) };
        }
        if let (Source::Known { .. }, Some(ahead)) = (&self.source, &self.sampling.ahead)
            && avoid.is_empty()
        {
            ahead.ask(Wish { step: step.wrapping_add(1), double });
        }
        Ok(())
    }
}

impl Drop for Draw<'_> {
    /// A call that failed half way.
    fn drop(&mut self) {
        let (Some(slot), Some(pool)) = (self.slot.take(), &self.sampling.pool) else { return };
        match (self.started, &self.capture) {
            (false, None) => pool.give_back(slot),
            (_, Some(_)) => pool.give_back_from_graph(slot),
            (true, None) => match self.sampling.device.enter() {
                // What the call put on the stream may still read it.
                Ok(entered) => drop(pool.give_back_after(slot, &entered, self.stream)),
                Err(_) => pool.retire(slot),
            },
        }
    }
}
