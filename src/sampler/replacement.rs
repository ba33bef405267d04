//! Sampling with replacement where some classes must not be drawn.

use super::distribution::Distribution;
use super::excluded::{Excluded, ExcludedMass};
use super::membership::Members;
use super::stream::Stream;
use super::unique::whole_tries;
use crate::allocation::reserve_exact;
use crate::error::Result;

/// How to sample with replacement around exclusions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Draw, and reject what is excluded.
    Rejection,
    /// Invert the cumulative distribution of the classes that are left.
    Inversion,
}

/// The way: rejection unless it would refuse more than 15 of 16 draws.
pub(super) fn method(excluded: ExcludedMass) -> Method {
    if 1.0 - excluded.probability >= 1.0 / 16.0 { Method::Rejection } else { Method::Inversion }
}

/// Makes room for a sample of `count`.
///
/// # Errors
/// `HostMemory`.
pub(super) fn reserve(arrivals: &mut Vec<f64>, count: usize) -> Result<()> {
    arrivals.clear();
    reserve_exact(arrivals, count, "the sampler's arrivals")
}

/// Draws `ids.len()` classes outside of `excluded`, which `members` holds, ascending, and
/// gives the number of tries, rejected ones included. `members` is empty afterwards.
pub(super) fn sample<D: Distribution, M: Members>(
    method: Method,
    distribution: &D,
    (members, excluded): (&mut M, &Excluded<'_>),
    stream: &mut Stream,
    arrivals: &mut Vec<f64>,
    ids: &mut [i64],
) -> i64 {
    let tries = match method {
        Method::Rejection => reject(distribution, members, stream, ids),
        Method::Inversion => invert(distribution, members, stream, arrivals, ids),
    };
    members.take(excluded, &mut []);
    tries
}

fn reject<D: Distribution, M: Members>(
    distribution: &D,
    members: &M,
    stream: &mut Stream,
    ids: &mut [i64],
) -> i64 {
    let mut tries = 0;
    let mut drawn = 0;
    while drawn < ids.len() {
        // Refused classes are overwritten by the next fill.
        distribution.fill(stream, &mut ids[drawn..]);
        tries += (ids.len() - drawn) as i64;
        let fresh = drawn;
        for next in fresh..ids.len() {
            let class = ids[next];
            ids[drawn] = class;
            drawn += usize::from(!members.contains(class));
        }
    }
    ids.sort_unstable();
    tries
}

/// The positions of S uniform numbers in ascending order are those of the first S of
/// S + 1 exponential arrivals, over the last; one pass over the classes turns them into
/// classes. The tries are the time of the S-th of other arrivals, at the rate at which
/// allowed classes come.
fn invert<D: Distribution, M: Members>(
    distribution: &D,
    members: &M,
    stream: &mut Stream,
    arrivals: &mut Vec<f64>,
    ids: &mut [i64],
) -> i64 {
    let allowed = |class: &i64| !members.contains(*class);
    let classes = || (0..distribution.num_classes()).filter(allowed);
    let total: f64 = classes().map(|class| distribution.probability(class)).sum();
    let mut time = 0.0;
    arrivals.clear();
    for _ in 0..ids.len() {
        time += stream.exponential();
        arrivals.push(time);
    }
    let scale = total / (time + stream.exponential());
    let mut cumulative = 0.0;
    let mut drawn = 0;
    let mut last_positive = 0;
    for class in classes() {
        let p = distribution.probability(class);
        if p > 0.0 {
            last_positive = class;
        }
        cumulative += p;
        while drawn < ids.len() && arrivals[drawn] * scale < cumulative {
            ids[drawn] = class;
            drawn += 1;
        }
    }
    // Only if rounding has put an arrival at the very end.
    ids[drawn..].fill(last_positive);
    let time: f64 = (0..ids.len()).map(|_| stream.exponential()).sum();
    whole_tries(time / total, ids.len())
}
