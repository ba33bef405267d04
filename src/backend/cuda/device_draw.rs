//! Draws that the device makes: the attempts of `sampler/philox.rs`, all at once, on the
//! caller's stream and without the host. `kernels/draw.cuh` says how.

use super::arguments::{Address, DrawArgs};
use super::catalogue::Small;
use super::launch::Queue;
use super::slots::Memory;
use crate::args::{Candidates, Problem};
use crate::error::{Error, Result};
use crate::sampler::{Attempt, ExpectedCount, Philox, Sampler};

/// How a handle draws on its device.
pub(super) struct DeviceDraw {
    philox: Philox,
    /// Made at once, a power of two.
    attempts: usize,
    num_sampled: usize,
}

/// Fewer are not worth a block.
const FEWEST_ATTEMPTS: u64 = 64;

impl DeviceDraw {
    pub(super) fn new(philox: &Philox, problem: &Problem) -> Result<DeviceDraw> {
        let attempts = philox.enough.max(FEWEST_ATTEMPTS).checked_next_power_of_two().unwrap_or(u64::MAX);
        let bits = (64 - problem.num_classes.leading_zeros()) + attempts.trailing_zeros();
        if attempts > 1 << 30 || bits > 63 {
            return Err(Error::Shape(format!(
                "num_sampled = {} of num_classes = {}: the CUDA engine draws by keys of {bits} bits, of which it has \
                 63, and at most 2^30 of them; take SSL_GENERATOR_XOSHIRO",
                problem.num_sampled, problem.num_classes
            )));
        }
        Ok(DeviceDraw {
            philox: *philox,
            attempts: attempts as usize,
            num_sampled: problem.num_sampled as usize,
        })
    }

    /// Bytes of device memory that a draw needs: keys, what came late, marks.
    pub(super) fn scratch(&self) -> usize {
        (self.attempts + self.num_sampled) * size_of::<u64>() + self.attempts * size_of::<u32>()
    }

    /// How expected counts follow from the probabilities; tries are known to the device.
    pub(super) fn rule(&self, sampler: &Sampler) -> ExpectedCount {
        sampler.rule_of_attempts(&self.philox, 0)
    }

    /// Puts the draw of the ids on the stream.
    ///
    /// # Safety
    /// The ids exist on the device, and `memory` is that of a slot with `scratch`.
    pub(super) unsafe fn enqueue(
        &self,
        candidates: &Candidates<'_>,
        memory: &Memory,
        queue: &Queue<'_>,
        small: &Small,
        unique: bool,
    ) -> Result<()> {
        let keys = memory.scratch;
        let more = keys + (self.attempts * size_of::<u64>()) as Address;
        let draw = DrawArgs {
            key: self.philox.key,
            step: candidates.step,
            step_pointer: candidates.step_pointer as Address,
            num_classes: candidates.num_classes as i64,
            attempts: self.attempts as i64,
            num_sampled: self.num_sampled as i32,
            index_bits: self.attempts.trailing_zeros() as i32,
            law: match self.philox.attempt {
                Attempt::Uniform => 0,
                Attempt::LogUniform => 1,
                Attempt::Everything => 2,
            },
            unique: i32::from(unique),
            keys,
            marks: more + (self.num_sampled * size_of::<u64>()) as Address,
            more,
            ids: candidates.ids as Address,
            info: memory.info as Address,
        };
        // SAFETY: the caller's promise.
        unsafe {
            queue.cover(small.draw_keys, self.attempts, small.draw_keys.rows, &draw)?;
            queue.sort(small, keys, self.attempts)?;
            queue.cover(small.draw_firsts, self.attempts, small.draw_firsts.rows, &draw)?;
            queue.launch(small.draw_ids, [1, 1], &draw)
        }
    }
}
