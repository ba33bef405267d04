//! `ssl_candidates`, checked as far as its arrays need not be read.

use super::config::Problem;
use super::{dtype, elements, pointer, slice, unknown, zero};
use crate::abi::{self, ssl_candidates};
use crate::error::{Error, Result};
use crate::memory::{Dtype, Region, Regions};

/// Where the candidates of a call are, and whether it draws them. `avoid`, `num_tries`
/// and `learned_counts` are in host memory on every engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    pub(crate) draws: bool,
    pub(crate) step: u64,
    /// Where the step is; NULL where `step` says it.
    pub(crate) step_pointer: *const u64,
    pub(crate) avoid: &'a [i64],
    /// NULL where not wanted.
    pub(crate) num_tries: *mut i64,
    /// `[C]`; NULL where not wanted.
    pub(crate) learned_counts: *mut i64,
    /// `[S]`; in `ssl_sample` NULL where not wanted, as are the counts.
    pub(crate) ids: *mut i64,
    /// `[S]`.
    pub(crate) sampled_counts: *mut u8,
    /// `[N, T]`.
    pub(crate) true_counts: *mut u8,
    /// Whether the counts are float64 rather than float32.
    pub(crate) double: bool,
    pub(crate) num_sampled: usize,
    pub(crate) num_labels: usize,
    pub(crate) num_classes: usize,
}

impl<'a> Candidates<'a> {
    /// # Safety
    /// `raw.avoid` leads to what `ssl_candidates` says.
    pub(crate) unsafe fn check(
        raw: &ssl_candidates,
        problem: &Problem,
        num_labels: usize,
        call: Call,
        regions: &mut Regions,
    ) -> Result<Candidates<'a>> {
        zero("candidates.reserved", raw.reserved)?;
        let given = match raw.source {
            abi::SSL_CANDIDATES_DRAW => false,
            abi::SSL_CANDIDATES_GIVEN => true,
            value => return unknown("candidates.source", value, "SSL_CANDIDATES_*"),
        };
        if given && call == Call::Sample {
            return Err(Error::InvalidValue("candidates.source = 1: ssl_sample draws, it takes none".into()));
        }
        let draws = !given && call != Call::Backward;
        let double = match dtype("counts_dtype", raw.counts_dtype)? {
            Dtype::F32 => false,
            Dtype::F64 => true,
            other => {
                return Err(Error::Dtype(format!(
                    "counts_dtype is {other:?}; it must be float32 or float64"
                )));
            }
        };
        let width = if double { 8 } else { 4 };
        let num_sampled = elements("ids", &[problem.num_sampled])?;
        let num_classes = elements("learned_counts", &[problem.num_classes])?;
        let optional = call == Call::Sample;
        let required =
            |data: *mut libc::c_void, count: usize| if optional && data.is_null() { 0 } else { count };
        let ids = pointer("ids", raw.ids, required(raw.ids.cast(), num_sampled), 8)?;
        let sampled = raw.sampled_expected_count;
        let sampled = pointer("sampled_expected_count", sampled, required(sampled, num_sampled), width)?;
        let expected_true = raw.true_expected_count;
        let expected_true =
            pointer("true_expected_count", expected_true, required(expected_true, num_labels), width)?;
        let num_avoid = match raw.num_avoid {
            count if count >= 0 => elements("avoid", &[count])?,
            count => return Err(Error::Shape(format!("num_avoid = {count} is negative"))),
        };
        // SAFETY: the caller's promise.
        let avoid = unsafe { slice("avoid", raw.avoid, num_avoid)? };
        let num_tries = pointer("num_tries", raw.num_tries, 0, 8)?;
        let learned_counts = pointer("learned_counts", raw.learned_counts, 0, 8)?;
        let step_pointer = pointer("step_pointer", raw.step_pointer, 0, 8)?;
        if draws && !step_pointer.is_null() && raw.step != 0 {
            return Err(Error::InvalidValue(format!(
                "candidates.step = {} and candidates.step_pointer are both set",
                raw.step
            )));
        }

        regions.add(Region::flat("ids", ids, num_sampled, draws))?;
        regions.add(Region::flat(
            "sampled_expected_count",
            sampled.cast::<u8>(),
            num_sampled * width,
            draws,
        ))?;
        regions.add(Region::flat(
            "true_expected_count",
            expected_true.cast::<u8>(),
            num_labels * width,
            draws,
        ))?;
        regions.add(Region::flat("avoid", avoid.as_ptr(), num_avoid, false))?;
        if draws {
            regions.add(Region::flat("step_pointer", step_pointer, 1, false))?;
            regions.add(Region::flat("num_tries", num_tries, 1, true))?;
            regions.add(Region::flat("learned_counts", learned_counts, num_classes, true))?;
        }
        Ok(Candidates {
            draws,
            step: raw.step,
            step_pointer,
            avoid,
            num_tries,
            learned_counts,
            ids,
            sampled_counts: sampled.cast(),
            true_counts: expected_true.cast(),
            double,
            num_sampled,
            num_labels,
            num_classes,
        })
    }
}

/// Which call looks at the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Forward,
    Backward,
    Sample,
}
