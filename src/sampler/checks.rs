//! What a draw refuses, before it writes anything.

use super::distribution::Distribution;
use super::draw::Draw;
use super::{Law, Sampler};
use crate::error::{Error, Result};

/// Outputs have the lengths that S, C and the labels give them.
pub(super) fn check_lengths(sampler: &Sampler, draw: &Draw<'_>) -> Result<()> {
    let labels = draw.labels.len();
    let lengths = [
        ("ids", Some(draw.ids.len()), "num_sampled", sampler.num_sampled),
        (
            "sampled_expected_count",
            draw.sampled.as_ref().map(|out| out.len()),
            "num_sampled",
            sampler.num_sampled,
        ),
        (
            "true_expected_count",
            draw.expected_true.as_ref().map(|out| out.len()),
            "the number of labels",
            labels,
        ),
    ];
    for (name, len, what, want) in lengths {
        if len.is_some_and(|len| len != want) {
            let len = len.unwrap_or_default();
            return Err(Error::Shape(format!("{name} has {len} elements, but {what} is {want}")));
        }
    }
    let Some(len) = draw.learned.as_ref().map(|out| out.len()) else {
        return Ok(());
    };
    if !matches!(sampler.law, Law::LearnedUnigram) {
        return Err(nothing_learned());
    }
    check_learned_length(len, sampler.num_classes)
}

/// For learned counts that are asked of another sampler.
pub(super) fn nothing_learned() -> Error {
    Error::InvalidValue("learned_counts: only SSL_SAMPLER_LEARNED_UNIGRAM has any".into())
}

/// `[C]` it must be.
pub(super) fn check_learned_length(len: usize, num_classes: i64) -> Result<()> {
    if i64::try_from(len) == Ok(num_classes) {
        return Ok(());
    }
    Err(Error::Shape(format!("learned_counts has {len} elements, but num_classes is {num_classes}")))
}

/// Labels and avoided ids are classes, and every label has an expected count if it is
/// asked for.
pub(super) fn check_classes<D: Distribution>(distribution: &D, draw: &Draw<'_>) -> Result<()> {
    let num_classes = distribution.num_classes();
    let out_of_range =
        |argument, index: String, value| Err(Error::LabelRange { argument, index, value, num_classes });
    if let Some(index) = draw.avoid.iter().position(|id| !(0..num_classes).contains(id)) {
        return out_of_range("avoid", format!("[{index}]"), draw.avoid[index]);
    }
    let may_be_zero = draw.expected_true.is_some() && distribution.num_positive() < num_classes;
    for (index, label) in draw.labels.iter().enumerate() {
        if Some(label) == draw.ignored {
            continue;
        }
        if !(0..num_classes).contains(&label) {
            return out_of_range("labels", label_index(draw, index), label);
        }
        if may_be_zero && distribution.probability(label) == 0.0 {
            let index = label_index(draw, index);
            return Err(Error::ExpectedCount(format!(
                "labels{index} = {label}: class {label} is never sampled, its expected count is 0"
            )));
        }
    }
    Ok(())
}

/// `[n]`, or `[n, t]` where rows have several labels.
fn label_index(draw: &Draw<'_>, index: usize) -> String {
    match draw.num_true {
        0 | 1 => format!("[{index}]"),
        num_true => format!("[{}, {}]", index / num_true, index % num_true),
    }
}

/// Enough classes are left: S where they must be distinct, else 1.
pub(super) fn check_room(sampler: &Sampler, positive: i64, excluded: i64) -> Result<()> {
    let need = if sampler.unique { sampler.num_sampled as i64 } else { 1 };
    if need <= positive - excluded {
        return Ok(());
    }
    Err(Error::InvalidValue(format!(
        "num_sampled = {}, but of {positive} classes of positive probability labels and avoid \
         exclude {excluded}, which leaves {}{}",
        sampler.num_sampled,
        positive - excluded,
        if sampler.unique { " to draw distinct ones from" } else { "" },
    )))
}
