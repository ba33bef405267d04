//! Sampling without replacement: the distribution of drawing until S distinct classes
//! have come, by the cheapest of four ways.
//!
//! The way follows from what is known before the draw (distribution, S, exclusions) and
//! never from how the draw goes, so that the choice biases nothing.

use super::distribution::Distribution;
use super::excluded::Excluded;
use super::exponential_keys::{self, Key};
use super::membership::Members;
use super::stream::Stream;

/// How to sample without replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Every class that may be drawn is: nothing is left to chance, one try a class.
    Everything,
    /// Draw, and reject what has come before.
    Rejection,
    /// Draw, by rejection, the few classes to leave out: where all are equally probable.
    Complement,
    /// [`exponential_keys`].
    ExponentialKeys,
}

/// The way to draw `count` of `allowed` classes, where `excluded` more may not be drawn.
pub(super) fn method<D: Distribution>(distribution: &D, count: usize, allowed: i64, excluded: i64) -> Method {
    if count as i64 == allowed {
        Method::Everything
    } else if D::EQUIPROBABLE {
        // At S = 3/4 of the allowed classes, rejection takes 1.4 C tries.
        let few = count as i64 <= allowed - allowed / 4;
        if few { Method::Rejection } else { Method::Complement }
    } else if count as f64 + excluded as f64 <= distribution.reach() {
        // Each excluded class contributes 1 at most to what the budget reaches.
        Method::Rejection
    } else {
        Method::ExponentialKeys
    }
}

/// Draws `ids.len()` distinct classes of the `allowed` ones outside of `excluded`, which
/// `members` holds, and gives the number of tries, rejected ones included. `ids` ascend,
/// and `members` is empty afterwards.
pub(super) fn sample<D: Distribution, M: Members>(
    (method, allowed): (Method, i64),
    distribution: &D,
    (members, excluded): (&mut M, &Excluded<'_>),
    stream: &mut Stream,
    keys: &mut Vec<Key>,
    ids: &mut [i64],
) -> i64 {
    match method {
        Method::Everything => {
            fill_with_others(distribution, members, ids);
            members.take(excluded, &mut []);
            ids.len() as i64
        }
        Method::Rejection => {
            let tries = insert_distinct(distribution, members, stream, ids.len() as i64);
            members.take(excluded, ids);
            tries
        }
        Method::Complement => {
            let left_out = allowed - ids.len() as i64;
            insert_distinct(distribution, members, stream, left_out);
            fill_with_others(distribution, members, ids);
            members.clear();
            let rate = 1.0 / distribution.num_classes() as f64;
            whole_tries(arrival_of_last(stream, ids.len(), allowed, rate), ids.len())
        }
        Method::ExponentialKeys => {
            let arrival = exponential_keys::sample(distribution, members, stream, keys, ids);
            members.take(excluded, &mut []);
            ids.sort_unstable();
            whole_tries(arrival, ids.len())
        }
    }
}

/// Draws until `count` classes that were no members have become so; gives the draws.
fn insert_distinct<D: Distribution, M: Members>(
    distribution: &D,
    members: &mut M,
    stream: &mut Stream,
    count: i64,
) -> i64 {
    let mut batch = [0; 256];
    let (mut tries, mut missing) = (0, count);
    while missing > 0 {
        // Draws beyond the last that is needed are not looked at.
        let len = missing.clamp(16, batch.len() as i64) as usize;
        distribution.fill(stream, &mut batch[..len]);
        for class in &batch[..len] {
            tries += 1;
            missing -= i64::from(members.insert(*class));
            if missing == 0 {
                break;
            }
        }
    }
    tries
}

/// All classes of positive probability that are no members, ascending: `ids.len()` of them.
fn fill_with_others<D: Distribution, M: Members>(distribution: &D, members: &M, ids: &mut [i64]) {
    let others = (0..distribution.num_classes())
        .filter(|class| !members.contains(*class) && distribution.probability(*class) > 0.0);
    for (id, class) in ids.iter_mut().zip(others) {
        *id = class;
    }
}

/// When the last of `count` of `allowed` classes arrives, each at `rate`: while i have
/// come, the next is one of allowed - i (Rényi, 1953).
fn arrival_of_last(stream: &mut Stream, count: usize, allowed: i64, rate: f64) -> f64 {
    (0..count as i64).map(|come| stream.exponential() / ((allowed - come) as f64 * rate)).sum()
}

/// A time in draws as a number of tries, which is no less than the draws that succeeded.
pub(super) fn whole_tries(time: f64, count: usize) -> i64 {
    // The conversion saturates: a time beyond 2^63 is a number of tries nobody makes.
    (time.round() as i64).max(count as i64)
}
