//! The arrays of a call as host slices: what they hold is checked, and candidates are
//! drawn, before anything is computed.

use crate::args::Candidates;
use crate::backend::{Sample, Step};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::sampler::{Counts, Draw};

/// What an engine on the host reads by index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host<'a> {
    labels: Labels<'a>,
    ignored: Option<i64>,
    num_true: usize,
    /// `[S]`.
    pub(super) ids: &'a [i64],
    /// `[S]`.
    pub(super) sampled_counts: CountsView<'a>,
    /// `[N, T]`.
    pub(super) true_counts: CountsView<'a>,
}

/// Expected counts of either type, read as float64.
#[derive(Clone, Copy, Debug)]
pub(super) enum CountsView<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl CountsView<'_> {
    #[inline]
    pub(super) fn get(&self, index: usize) -> f64 {
        match self {
            CountsView::F32(counts) => f64::from(counts[index]),
            CountsView::F64(counts) => counts[index],
        }
    }
}

impl<'a> Host<'a> {
    /// Checks the labels, draws the candidates or checks those given.
    ///
    /// # Safety
    /// The arrays of `step` exist, in host memory.
    pub(super) unsafe fn prepare(step: &Step<'a>) -> Result<Host<'a>> {
        let candidates = step.candidates;
        // SAFETY: the caller's promise; the draw's mutable views end before these begin.
        unsafe {
            sample(&Sample {
                problem: step.problem,
                sampler: step.sampler,
                labels: step.batch.labels,
                ignored: step.batch.ignored,
                candidates,
                stream: step.stream,
            })?;
            let host = Host {
                labels: step.batch.labels.view(),
                ignored: step.batch.ignored,
                num_true: step.batch.shape.num_true,
                ids: std::slice::from_raw_parts(candidates.ids, candidates.num_sampled),
                sampled_counts: view(candidates.sampled_counts, candidates.num_sampled, candidates.double),
                true_counts: view(candidates.true_counts, candidates.num_labels, candidates.double),
            };
            if !candidates.draws {
                host.check_given(candidates.num_classes as i64)?;
            }
            Ok(host)
        }
    }

    /// The label at `place = row * T + t`.
    #[inline]
    pub(super) fn label(&self, place: usize) -> i64 {
        self.labels.get(place)
    }

    /// Whether the row is left out altogether. Its labels are then all the same.
    #[inline]
    pub(super) fn is_ignored(&self, row: usize) -> bool {
        self.ignored.is_some_and(|ignored| self.labels.get(row * self.num_true) == ignored)
    }

    /// Checks candidates that the caller brought: ids in range, counts with a logarithm.
    fn check_given(&self, num_classes: i64) -> Result<()> {
        for (index, &id) in self.ids.iter().enumerate() {
            if !(0..num_classes).contains(&id) {
                let index = format!("[{index}]");
                return Err(Error::LabelRange { argument: "ids", index, value: id, num_classes });
            }
            check_count(self.sampled_counts.get(index), || format!("sampled_expected_count[{index}]"))?;
        }
        for row in (0..self.labels.len() / self.num_true).filter(|&row| !self.is_ignored(row)) {
            for column in 0..self.num_true {
                let place = || format!("true_expected_count{}", label_index(row, column, self.num_true));
                check_count(self.true_counts.get(row * self.num_true + column), place)?;
            }
        }
        Ok(())
    }
}

/// Checks the labels and, where the call draws, draws.
///
/// # Safety
/// The arrays of `call` exist, in host memory, and are not borrowed.
pub(super) unsafe fn sample(call: &Sample<'_>) -> Result<()> {
    // SAFETY: the caller's promise.
    let labels = unsafe { call.labels.view() };
    let num_true = call.problem.num_true as usize;
    check_labels(&labels, num_true, call.problem.num_classes, call.ignored)?;
    if !call.candidates.draws {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { draw(call, labels) }
}

/// # Safety
/// As `sample`.
unsafe fn draw(call: &Sample<'_>, labels: Labels<'_>) -> Result<()> {
    let Candidates { ids, sampled_counts, true_counts, learned_counts, num_tries, double, .. } =
        *call.candidates;
    // SAFETY: NULL or the caller's promise, aligned by `Candidates::check`.
    let step = unsafe { call.candidates.step_pointer.as_ref() }.copied().unwrap_or(call.candidates.step);
    if ids.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { call.save_learned() };
    }
    // SAFETY: the sizes that the header gives, aligned by `Candidates::check`.
    let learned = (!learned_counts.is_null())
        .then(|| unsafe { std::slice::from_raw_parts_mut(learned_counts, call.candidates.num_classes) });
    // SAFETY: as above.
    let (ids, sampled, expected_true) = unsafe {
        (
            std::slice::from_raw_parts_mut(ids, call.candidates.num_sampled),
            view_mut(sampled_counts, call.candidates.num_sampled, double),
            view_mut(true_counts, call.candidates.num_labels, double),
        )
    };
    let tries = call.sampler.draw(Draw {
        step,
        labels,
        num_true: call.problem.num_true as usize,
        ignored: call.ignored,
        exclude_labels: call.problem.hits == crate::args::Hits::Exclude,
        avoid: call.candidates.avoid,
        ids,
        sampled,
        expected_true,
        learned,
    })?;
    if !num_tries.is_null() {
        // SAFETY: aligned by `Candidates::check`, writable by the caller's promise.
        unsafe { num_tries.write(tries) };
    }
    Ok(())
}

/// Every label is a class, or its whole row is ignored.
fn check_labels(labels: &Labels<'_>, num_true: usize, num_classes: i64, ignored: Option<i64>) -> Result<()> {
    for row in 0..labels.len() / num_true {
        let first = labels.get(row * num_true);
        let ignored_row = ignored == Some(first);
        for column in 0..num_true {
            let label = labels.get(row * num_true + column);
            if (ignored == Some(label)) != ignored_row {
                return Err(Error::InvalidValue(format!(
                    "labels[{row}, {column}] = {label}, labels[{row}, 0] = {first}: of a row's labels, all or none are ignore_index"
                )));
            }
            if !ignored_row && !(0..num_classes).contains(&label) {
                let index = label_index(row, column, num_true);
                return Err(Error::LabelRange { argument: "labels", index, value: label, num_classes });
            }
        }
    }
    Ok(())
}

fn check_count(count: f64, name: impl FnOnce() -> String) -> Result<()> {
    if count > 0.0 && count < f64::INFINITY {
        return Ok(());
    }
    Err(Error::ExpectedCount(format!("{} = {count} is not a positive finite number", name())))
}

/// A label's place in words: `[3]`, or `[3, 1]` where a row has several.
fn label_index(row: usize, column: usize, num_true: usize) -> String {
    if num_true == 1 { format!("[{row}]") } else { format!("[{row}, {column}]") }
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
