//! Candidates for the device. The host draws them, so that they are the CPU engine's:
//!
//! ```text
//! the step was foreseen   a thread has drawn it already; its slot is copied on the stream
//! otherwise               drawn at once, by the calling thread
//! depends on labels       labels are copied to the host, the stream calls the sampler
//! in a graph              the graph calls the sampler, for another step at every replay
//! ```
//!
//! With `SSL_GENERATOR_PHILOX` the device draws (`device_draw.rs`), in a graph too.
//!
//! Expected counts of the labels are computed on the device, but where the sampler sees
//! the labels anyway.

use std::sync::Arc;

use super::ahead::{Ahead, Drawn, Wish};
use super::arguments::{Address, TrueCountsArgs};
use super::context::{Device, Entered};
use super::device_draw::DeviceDraw;
use super::draw::{Draw, Request, Source};
use super::graph::CaptureState;
use super::launch::labels_code;
use super::pinned::DeviceMemory;
use super::pointers::Stream;
use super::slots::Pool;
use crate::abi;
use crate::args::{Candidates, Hits, Problem};
use crate::error::{Error, Result};
use crate::labels::LabelArray;
use crate::sampler::{ExpectedCount, Probabilities, Sampler, no_exclusions};

/// The sampler of a handle, as a device gets at it.
pub(super) struct Sampling {
    // Before what it draws into.
    pub(super) ahead: Option<Ahead>,
    /// Where the device draws.
    pub(super) on_device: Option<DeviceDraw>,
    /// None where the caller brings the candidates.
    pub(super) pool: Option<Arc<Pool>>,
    /// Of the probabilities, `[C]`, where they are given.
    table: Option<DeviceMemory>,
    pub(super) device: Arc<Device>,
    pub(super) sampler: Arc<Sampler>,
    pub(super) exclude_labels: bool,
    pub(super) num_true: usize,
}

impl Sampling {
    pub(super) fn new(device: &Arc<Device>, problem: &Problem, sampler: &Arc<Sampler>) -> Result<Sampling> {
        let exclude_labels = problem.hits == Hits::Exclude;
        let (mut pool, mut ahead, mut table) = (None, None, None);
        let on_device = sampler.philox().map(|philox| DeviceDraw::new(philox, problem)).transpose()?;
        if !matches!(sampler.probabilities(), Probabilities::None) {
            let scratch = on_device.as_ref().map_or(0, DeviceDraw::scratch);
            let slots = Pool::new(device, problem.num_sampled as usize, scratch)?;
            if on_device.is_none()
                && !matches!(sampler.probabilities(), Probabilities::Learned)
                && !exclude_labels
            {
                ahead = Some(Ahead::new(&slots, sampler)?);
            }
            pool = Some(slots);
        }
        if let Probabilities::Table(probabilities) = sampler.probabilities() {
            table = Some(upload(device, probabilities)?);
        }
        Ok(Sampling {
            ahead,
            on_device,
            pool,
            table,
            device: Arc::clone(device),
            sampler: Arc::clone(sampler),
            exclude_labels,
            num_true: problem.num_true as usize,
        })
    }

    /// Whether the draw of a call waits for its labels.
    pub(super) fn waits_for_labels(&self, labels: &LabelArray) -> bool {
        match self.sampler.probabilities() {
            Probabilities::Learned => true,
            Probabilities::None => false,
            _ => self.exclude_labels && labels.count > 0,
        }
    }

    /// Makes a draw ready; all that the sampler has against it is said here.
    pub(super) fn prepare<'a>(
        &'a self,
        entered: &Entered<'_>,
        stream: Stream,
        request: Request<'a>,
    ) -> Result<Draw<'a>> {
        let Some(pool) = &self.pool else {
            return Err(Error::InvalidValue(
                "sampler = SSL_SAMPLER_CALLER draws nothing: pass candidates with source = SSL_CANDIDATES_GIVEN"
                    .into(),
            ));
        };
        self.check(&request)?;
        let waits = self.waits_for_labels(&request.labels);
        let capture = match entered.is_capturing(stream)? {
            CaptureState::None => None,
            _ => entered.capture(stream)?,
        };
        if let Some(on_device) = &self.on_device {
            if !request.candidates.avoid.is_empty() {
                return Err(no_exclusions());
            }
            let mut slot = match &capture {
                None => pool.take()?,
                Some(_) => pool.take_for_graph(0)?,
            };
            slot.begin_on_device();
            let source = Source::Device { on_device, rule: on_device.rule(&self.sampler) };
            return Draw::new(self, request, source, slot, (stream, capture));
        }
        let labels = if waits { request.labels.count } else { 0 };
        let (slot, source) = match (&capture, waits) {
            (None, false) => {
                let Drawn { slot, tries, rule } = self.drawn(pool, request.candidates)?;
                (slot, Source::Known { tries, rule })
            }
            (None, true) => {
                pool.make_room_for_graphs(labels)?;
                let mut slot = pool.take()?;
                match slot.make_room(&self.device, labels) {
                    Ok(()) => (slot, Source::Later { rule: None }),
                    Err(error) => {
                        pool.give_back(slot);
                        return Err(error);
                    }
                }
            }
            (Some(_), false) => {
                let mut slot = pool.take_for_graph(0)?;
                // The first replay's draw, made for what it says of the rule and of errors.
                let Candidates { step, double, avoid, .. } = *request.candidates;
                match slot.draw(&self.sampler, step, double, avoid) {
                    Ok((_, rule)) => (slot, Source::Later { rule: Some(rule) }),
                    Err(error) => {
                        pool.give_back_from_graph(slot);
                        return Err(error);
                    }
                }
            }
            (Some(_), true) => (pool.take_for_graph(labels)?, Source::Later { rule: None }),
        };
        Draw::new(self, request, source, slot, (stream, capture))
    }

    fn check(&self, request: &Request<'_>) -> Result<()> {
        let candidates = request.candidates;
        if !candidates.step_pointer.is_null() && self.on_device.is_none() {
            return Err(Error::InvalidValue(
                "step_pointer: the device reads it where it draws itself: generator = SSL_GENERATOR_PHILOX"
                    .into(),
            ));
        }
        if candidates.learned_counts.is_null() {
            return Ok(());
        }
        if !matches!(self.sampler.probabilities(), Probabilities::Learned) {
            return Err(Error::InvalidValue(
                "learned_counts: only SSL_SAMPLER_LEARNED_UNIGRAM has any".into(),
            ));
        }
        Err(Error::InvalidValue(
            "learned_counts: a CUDA handle learns when the stream gets there; ask with ssl_sample and ids = NULL \
             once the stream is done"
                .into(),
        ))
    }

    /// A draw that was foreseen, or one made now.
    fn drawn(&self, pool: &Pool, candidates: &Candidates<'_>) -> Result<Drawn> {
        let Candidates { step, double, avoid, .. } = *candidates;
        let foreseen = self.ahead.as_ref().map(|ahead| ahead.take(Wish { step, double }));
        let mut slot = match foreseen {
            Some(Ok(drawn)) if avoid.is_empty() => return Ok(drawn),
            Some(Ok(Drawn { slot, .. }) | Err(Some(slot))) => slot,
            Some(Err(None)) | None => pool.take()?,
        };
        match slot.draw(&self.sampler, step, double, avoid) {
            Ok((tries, rule)) => Ok(Drawn { slot, tries, rule }),
            Err(error) => {
                pool.give_back(slot);
                Err(error)
            }
        }
    }

    /// The kernel's argument for the expected counts of labels under a rule.
    pub(super) fn true_counts(
        &self,
        rule: ExpectedCount,
        request: &Request<'_>,
        info: Address,
    ) -> Option<TrueCountsArgs> {
        let candidates = request.candidates;
        if candidates.true_counts.is_null() || request.labels.count == 0 {
            return None;
        }
        let (rule, constant) = match rule {
            ExpectedCount::Proportional(_) => (0, 0.0),
            ExpectedCount::Inclusion(_) => (1, 0.0),
            ExpectedCount::Constant(count) => (2, count),
        };
        let sampler = match self.sampler.probabilities() {
            Probabilities::LogUniform => abi::SSL_SAMPLER_LOG_UNIFORM,
            Probabilities::Table(_) => abi::SSL_SAMPLER_FIXED_UNIGRAM,
            Probabilities::All => abi::SSL_SAMPLER_ALL,
            _ => abi::SSL_SAMPLER_UNIFORM,
        };
        Some(TrueCountsArgs {
            labels: request.labels.data as Address,
            labels_dtype: labels_code(&request.labels),
            has_ignore_index: i32::from(request.ignored.is_some()),
            ignore_index: request.ignored.unwrap_or(0),
            count: request.labels.count as i64,
            num_classes: candidates.num_classes as i64,
            num_sampled: candidates.num_sampled as i64,
            sampler: sampler as i32,
            rule,
            constant,
            probabilities: self.table.as_ref().map_or(0, DeviceMemory::address),
            info,
            counts: candidates.true_counts as Address,
            counts_double: i32::from(candidates.double),
            pad: 0,
        })
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // The thread first, for it draws into the slots.
        self.ahead = None;
        if let Some(pool) = &self.pool {
            pool.close();
        }
    }
}

/// The probabilities of a fixed distribution, on the device.
fn upload(device: &Arc<Device>, probabilities: &[f64]) -> Result<DeviceMemory> {
    let bytes = size_of_val(probabilities);
    let table = DeviceMemory::new(device, bytes, "the sampler's probabilities")?;
    // SAFETY: 2 is the calling thread's own stream, on which nobody else's work waits.
    let stream = unsafe { device.check_stream(2 as *mut libc::c_void)? };
    let entered = device.enter()?;
    let _relaxed = entered.relaxed()?;
    // SAFETY: both have these bytes, and live until the stream is done.
    unsafe { entered.copy_to_device_async(table.address(), probabilities.as_ptr().cast(), bytes, stream)? };
    entered.synchronize(stream)?;
    Ok(table)
}
