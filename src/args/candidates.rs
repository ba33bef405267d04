//! `ssl_candidates`, checked.

use super::batch::{Batch, label_index};
use super::config::Problem;
use super::{dtype, elements, pointer, slice, unknown, zero};
use crate::abi::{self, ssl_candidates};
use crate::error::{Error, Result};
use crate::memory::{Dtype, Region, Regions};
use crate::sampler::Counts;

/// Where the candidates of a call are, and whether it draws them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    pub(crate) draws: bool,
    pub(crate) step: u64,
    pub(crate) avoid: &'a [i64],
    pub(crate) num_tries: *mut i64,
    learned_counts: *mut i64,
    ids: *mut i64,
    sampled: *mut u8,
    expected_true: *mut u8,
    double: bool,
    num_sampled: usize,
    num_labels: usize,
    num_classes: usize,
}

/// Expected counts of either type, read as float64.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CountsView<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl CountsView<'_> {
    #[inline]
    pub(crate) fn get(&self, index: usize) -> f64 {
        match self {
            CountsView::F32(counts) => f64::from(counts[index]),
            CountsView::F64(counts) => counts[index],
        }
    }
}

impl<'a> Candidates<'a> {
    /// `draws` says whether the call may draw; `ssl_sample` needs no counts.
    ///
    /// # Safety
    /// The pointers of `raw` lead to what `ssl_candidates` says.
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
            regions.add(Region::flat("num_tries", num_tries, 1, true))?;
            regions.add(Region::flat("learned_counts", learned_counts, num_classes, true))?;
        }
        Ok(Candidates {
            draws,
            step: raw.step,
            avoid,
            num_tries,
            learned_counts,
            ids,
            sampled: sampled.cast(),
            expected_true: expected_true.cast(),
            double,
            num_sampled,
            num_labels,
            num_classes,
        })
    }

    /// The candidates' ids.
    pub(crate) fn ids(&self) -> &'a [i64] {
        // SAFETY: [S] and aligned by `check`; nobody writes them while the engine runs.
        unsafe { std::slice::from_raw_parts(self.ids, self.num_sampled) }
    }

    /// Q of the candidates.
    pub(crate) fn sampled_counts(&self) -> CountsView<'a> {
        // SAFETY: [S] of the type in `double`, aligned by `check`.
        unsafe { view(self.sampled, self.num_sampled, self.double) }
    }

    /// Q of the labels.
    pub(crate) fn true_counts(&self) -> CountsView<'a> {
        // SAFETY: [N, T] of the type in `double`, aligned by `check`.
        unsafe { view(self.expected_true, self.num_labels, self.double) }
    }

    /// Where a draw writes ids; `None` where the caller wants none.
    ///
    /// # Safety
    /// The call draws, and no other borrow of these arrays is alive.
    pub(crate) unsafe fn ids_mut(&self) -> Option<&'a mut [i64]> {
        // SAFETY: [S] and aligned by `check`.
        (!self.ids.is_null()).then(|| unsafe { std::slice::from_raw_parts_mut(self.ids, self.num_sampled) })
    }

    /// Where a draw writes Q of the candidates.
    ///
    /// # Safety
    /// As `ids_mut`.
    pub(crate) unsafe fn sampled_counts_mut(&self) -> Option<Counts<'a>> {
        // SAFETY: as in `sampled_counts`.
        unsafe { view_mut(self.sampled, self.num_sampled, self.double) }
    }

    /// Where a draw writes Q of the labels.
    ///
    /// # Safety
    /// As `ids_mut`.
    pub(crate) unsafe fn true_counts_mut(&self) -> Option<Counts<'a>> {
        // SAFETY: as in `true_counts`.
        unsafe { view_mut(self.expected_true, self.num_labels, self.double) }
    }

    /// Where a draw writes the learned counts.
    ///
    /// # Safety
    /// As `ids_mut`.
    pub(crate) unsafe fn learned_counts_mut(&self) -> Option<&'a mut [i64]> {
        // SAFETY: [C] and aligned by `check`.
        (!self.learned_counts.is_null())
            .then(|| unsafe { std::slice::from_raw_parts_mut(self.learned_counts, self.num_classes) })
    }

    /// Checks candidates that the caller brought: ids in range, counts with a logarithm.
    pub(crate) fn check_given(&self, batch: &Batch<'_>) -> Result<()> {
        let (sampled, expected_true) = (self.sampled_counts(), self.true_counts());
        for (index, &id) in self.ids().iter().enumerate() {
            if !(0..self.num_classes as i64).contains(&id) {
                let num_classes = self.num_classes as i64;
                return Err(Error::LabelRange {
                    argument: "ids",
                    index: format!("[{index}]"),
                    value: id,
                    num_classes,
                });
            }
            check_count(sampled.get(index), || format!("sampled_expected_count[{index}]"))?;
        }
        let num_true = batch.shape.num_true;
        for row in (0..batch.shape.rows).filter(|&row| !batch.is_ignored(row)) {
            for column in 0..num_true {
                let place = || format!("true_expected_count{}", label_index(row, column, num_true));
                check_count(expected_true.get(row * num_true + column), place)?;
            }
        }
        Ok(())
    }
}

/// Which call looks at the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Forward,
    Backward,
    Sample,
}

fn check_count(count: f64, name: impl FnOnce() -> String) -> Result<()> {
    if count > 0.0 && count < f64::INFINITY {
        return Ok(());
    }
    Err(Error::ExpectedCount(format!("{} = {count} is not a positive finite number", name())))
}

unsafe fn view<'a>(data: *const u8, count: usize, double: bool) -> CountsView<'a> {
    // SAFETY: the caller's promise.
    unsafe {
        match (count, double) {
            (0, _) => CountsView::F64(&[]),
            (_, true) => CountsView::F64(std::slice::from_raw_parts(data.cast(), count)),
            (_, false) => CountsView::F32(std::slice::from_raw_parts(data.cast(), count)),
        }
    }
}

unsafe fn view_mut<'a>(data: *mut u8, count: usize, double: bool) -> Option<Counts<'a>> {
    // SAFETY: the caller's promise.
    unsafe {
        match (data.is_null(), double) {
            (true, _) => None,
            (_, true) => Some(Counts::F64(std::slice::from_raw_parts_mut(data.cast(), count))),
            (_, false) => Some(Counts::F32(std::slice::from_raw_parts_mut(data.cast(), count))),
        }
    }
}
