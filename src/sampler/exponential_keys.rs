//! Sampling without replacement by exponential keys, for samples that rejection would
//! take long to complete.
//!
//! Let class k arrive first at time E_k / p_k, the E_k exponential of mean 1. The order of
//! first arrivals is that of successive draws without replacement (Efraimidis and
//! Spirakis, 2006), so the S smallest keys are the sample; with rates that sum to 1, one
//! draw a unit of time, the S-th key stands for the tries that rejection would have
//! taken, and has their mean. Excluded classes are passed over: their arrivals would
//! have been rejected.

use super::distribution::Distribution;
use super::membership::Members;
use super::stream::Stream;
use crate::allocation::reserve_exact;
use crate::error::Result;

/// The first arrival of a class, in units of 2^64 draws, and the class.
pub(super) type Key = (f64, i64);

/// Keeps every key finite, down to the smallest positive probability.
const UNIT: f64 = 18_446_744_073_709_551_616.0; // 2^64

/// Makes room for a sample of `count` of `num_classes` classes.
///
/// # Errors
/// `HostMemory`.
pub(super) fn reserve(keys: &mut Vec<Key>, count: usize, num_classes: i64) -> Result<()> {
    keys.clear();
    reserve_exact(keys, capacity(count, num_classes), "the sampler's keys")
}

/// Room for as many candidates as the sample lets each pass over them, which is linear,
/// throw out half.
fn capacity(count: usize, num_classes: i64) -> usize {
    count.saturating_mul(2).min(num_classes as usize)
}

/// Draws `ids.len()` distinct classes that are not in `members`, in no particular order,
/// and gives the time of the last arrival, in draws.
pub(super) fn sample<D: Distribution, M: Members>(
    distribution: &D,
    members: &M,
    stream: &mut Stream,
    keys: &mut Vec<Key>,
    ids: &mut [i64],
) -> f64 {
    let count = ids.len();
    let capacity = capacity(count, distribution.num_classes());
    let mut bound = f64::INFINITY;
    keys.clear();
    for class in 0..distribution.num_classes() {
        let p = distribution.probability(class);
        if p == 0.0 || members.contains(class) {
            continue;
        }
        let key = stream.exponential() / UNIT / p;
        if key < bound {
            if keys.len() == capacity {
                bound = keep_smallest(keys, count);
            }
            keys.push((key, class));
        }
    }
    let last = keep_smallest(keys, count);
    for (id, key) in ids.iter_mut().zip(keys.iter()) {
        *id = key.1;
    }
    last * UNIT
}

/// Keeps the `count` smallest keys and gives the largest of them.
fn keep_smallest(keys: &mut Vec<Key>, count: usize) -> f64 {
    let (_, last, _) = keys.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let last = last.0;
    keys.truncate(count);
    last
}
