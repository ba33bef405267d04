//! Sampling without replacement: the right distribution whichever way it is done, and an
//! end to it for every configuration.

use super::super::bitmap::Bitmap;
use super::super::distribution::Distribution;
use super::super::excluded::Excluded;
use super::super::fixed_unigram::FixedUnigram;
use super::super::id_table::IdTable;
use super::super::log_uniform::LogUniform;
use super::super::membership::Members;
use super::super::scratch::Buffers;
use super::super::stream::Stream;
use super::super::uniform::Uniform;
use super::super::unique::{self, Method};
use super::super::{Law, exponential_keys};
use super::statistics::{assert_drawn_from, successive};
use super::*;

/// The sampled set, as a bit mask where classes are few, and the tries.
fn sample_by<D: Distribution, M: Members>(
    method: Method,
    distribution: &D,
    members: &mut M,
    avoid: &[i64],
    (ids, step): (&mut [i64], u64),
) -> i64 {
    let excluded = Excluded { labels: None, ignored: None, avoid };
    let mass = excluded.mark(distribution, members);
    let allowed = distribution.num_positive() - mass.classes;
    let Buffers { mut keys, .. } = Buffers::default();
    exponential_keys::reserve(&mut keys, ids.len(), distribution.num_classes()).unwrap();
    let mut stream = Stream::new(1, step, 2);
    let sets = (members, &excluded);
    unique::sample((method, allowed), distribution, sets, &mut stream, &mut keys, ids)
}

/// Compares the sets drawn, all of them, with the enumeration.
#[track_caller]
fn assert_successive<D: Distribution>(
    method: Method,
    distribution: &D,
    members: &mut impl Members,
    count: usize,
    avoid: &[i64],
) {
    const TRIALS: u64 = 100_000;
    let p: Vec<f64> = (0..distribution.num_classes()).map(|class| distribution.probability(class)).collect();
    let excluded = avoid.iter().fold(0, |mask, class| mask | 1 << class);
    let exact = successive(&p, count as u32, excluded);
    let mut observed = vec![0; exact.sets.len()];
    let mut ids = vec![0; count];
    let mut tries = 0;
    for step in 0..TRIALS {
        tries += sample_by(method, distribution, members, avoid, (&mut ids, step));
        observed[ids.iter().fold(0, |mask, id| mask | 1 << id)] += 1;
    }
    assert_drawn_from(&exact.sets, &observed);
    if method == Method::Rejection {
        // The other ways round a time up to the least possible number of tries.
        assert_relative(tries as f64 / TRIALS as f64, exact.mean_tries, 0.02);
    }
}

#[test]
fn every_way_draws_the_sets_of_successive_sampling() {
    let skewed = FixedUnigram::new(vec![5.0, 0.5, 0.0, 1.0, 20.0, 2.0, 1.0]).unwrap();
    let zipf = LogUniform::new(7);
    for avoid in [&[][..], &[4][..], &[2, 0, 0][..]] {
        for count in 1..=4 {
            for method in [Method::Rejection, Method::ExponentialKeys] {
                let mut bitmap = Bitmap::new(7).unwrap();
                assert_successive(method, &skewed, &mut bitmap, count, avoid);
                assert_successive(method, &zipf, &mut bitmap, count, avoid);
                let mut table = IdTable::new();
                table.reserve(count + avoid.len()).unwrap();
                assert_successive(method, &skewed, &mut table, count, avoid);
            }
        }
    }
}

#[test]
fn leaving_classes_out_is_the_same_as_drawing_the_others() {
    let uniform = Uniform::new(8);
    for avoid in [&[][..], &[3, 5, 3][..]] {
        for count in 1..=5 {
            for method in [Method::Rejection, Method::Complement] {
                let mut bitmap = Bitmap::new(8).unwrap();
                assert_successive(method, &uniform, &mut bitmap, count, avoid);
                let mut table = IdTable::new();
                table.reserve(8).unwrap();
                assert_successive(method, &uniform, &mut table, count, avoid);
            }
        }
    }
}

/// Of samples of 150 of 200 classes, two of which are excluded.
fn mean_tries<D: Distribution>(method: Method, distribution: &D) -> f64 {
    let mut members = Bitmap::new(200).unwrap();
    let mut ids = [0; 150];
    let mut tries = 0;
    for step in 0..4000 {
        tries += sample_by(method, distribution, &mut members, &[7, 150], (&mut ids, step));
    }
    tries as f64 / 4000.0
}

#[test]
fn all_ways_take_the_same_tries_on_average() {
    let (zipf, uniform) = (LogUniform::new(200), Uniform::new(200));
    let by_keys = mean_tries(Method::ExponentialKeys, &zipf);
    assert_relative(by_keys, mean_tries(Method::Rejection, &zipf), 0.01);
    let by_complement = mean_tries(Method::Complement, &uniform);
    assert_relative(by_complement, mean_tries(Method::Rejection, &uniform), 0.01);
    // 200 (1/198 + ... + 1/49) draws, in closed form.
    let harmonic: f64 = (49..=198).map(|left| 200.0 / f64::from(left)).sum();
    assert_relative(by_complement, harmonic, 0.01);
}

#[test]
fn all_classes_are_drawn_at_once_with_a_count_of_one() {
    let learned = Kind::LearnedUnigram { counts: Some((1..=1000).map(|k| k * k * k).collect()) };
    let steep: Vec<f64> = (0..1000).map(|k| 10.0_f64.powf(-0.3 * f64::from(k))).collect();
    for kind in [Kind::Uniform, Kind::LogUniform, Kind::All, learned, unigram(&steep)] {
        let sampler = sampler(kind, 1000, 1000, true);
        let trial = Trial::labels(&[0, 999]).run(&sampler).unwrap();
        assert_eq!(trial.ids, (0..1000).collect::<Vec<_>>());
        assert_eq!(trial.sampled, [1.0; 1000]);
        assert_eq!(trial.expected_true, [1.0; 2]);
        assert_eq!(trial.tries, 1000);
    }
}

#[test]
fn weights_over_300_decades_come_to_an_end() {
    let weights: Vec<f64> = (0..=300).map(|k| 10.0_f64.powi(-k)).collect();
    for count in [1, 2, 17, 150, 299, 300, 301] {
        let sampler = sampler(unigram(&weights), 301, count, true);
        let trial = draw(&sampler, 1);
        // Each class is ten times likelier than the next.
        let head = (count - 5).max(0);
        assert_eq!(trial.ids[..head as usize], (0..head).collect::<Vec<_>>());
        assert!(trial.sampled.iter().all(|q| *q > 0.0 && q.is_finite()), "{:?}", trial.sampled);
    }
}

#[test]
fn zeros_are_never_drawn_even_if_everything_else_is() {
    let weights: Vec<f64> = (0..100).map(|k| f64::from(k % 3)).collect();
    let positive = weights.iter().filter(|weight| **weight > 0.0).count() as i64;
    for count in [positive / 2, positive - 1, positive] {
        let sampler = sampler(unigram(&weights), 100, count, true);
        assert!(draw(&sampler, 0).ids.iter().all(|id| id % 3 != 0));
    }
}

#[test]
fn a_sample_of_two_million_still_advances() {
    let count = 1 << 21;
    let sampler = sampler(Kind::Uniform, 1 << 23, count, true);
    let (first, second) = (draw(&sampler, 0), draw(&sampler, 1));
    let common = first.ids.iter().filter(|id| second.ids.binary_search(id).is_ok()).count();
    // A quarter of the classes twice over: a sixteenth of them in both.
    assert_relative(common as f64, f64::from(1 << 19), 0.01);
}

#[test]
fn nearly_all_classes_are_drawn_as_surely_as_few() {
    let learned = Kind::LearnedUnigram { counts: Some((1..=20_000).collect()) };
    for kind in [Kind::Uniform, Kind::LogUniform, learned] {
        for count in [19_999, 19_000, 15_000, 10_000, 100] {
            draw(&sampler(kind.clone(), 20_000, count, true), 5);
        }
    }
}

#[test]
fn class_counts_beyond_any_memory_are_sampled_too() {
    for num_classes in [1 << 34, 1_i64 << 53, i64::MAX - 1, i64::MAX] {
        for kind in [Kind::Uniform, Kind::LogUniform] {
            for unique in [true, false] {
                let sampler = sampler(kind.clone(), num_classes, 5000, unique);
                let labels = [0, num_classes - 1];
                let trial = Trial { exclude_labels: true, ..Trial::labels(&labels) };
                let trial = trial.run(&sampler).unwrap();
                assert!(!trial.ids.contains(&0) && !trial.ids.contains(&(num_classes - 1)));
                assert!(trial.sampled.iter().all(|q| *q > 0.0));
            }
        }
    }
}

#[test]
fn a_set_of_either_structure_gives_the_same_sample() {
    let zipf = LogUniform::new(10_000);
    let avoid = [3, 9_999, 5_000];
    let mut bitmap = Bitmap::new(10_000).unwrap();
    let mut table = IdTable::new();
    for step in 0..50 {
        table.reserve(300).unwrap();
        let (mut one, mut other) = (vec![0; 200], vec![0; 200]);
        let bits = sample_by(Method::Rejection, &zipf, &mut bitmap, &avoid, (&mut one, step));
        let slots = sample_by(Method::Rejection, &zipf, &mut table, &avoid, (&mut other, step));
        assert_eq!((one, bits), (other, slots));
    }
}

#[test]
fn the_costly_samples_are_those_not_drawn_by_rejection() {
    let method = |kind, num_classes, count, excluded| {
        let sampler = sampler(kind, num_classes, count, true);
        let count = count as usize;
        match &sampler.law {
            Law::Uniform(law) => unique::method(law, count, num_classes - excluded, excluded),
            Law::LogUniform(law) => unique::method(law, count, num_classes - excluded, excluded),
            Law::FixedUnigram(law) => unique::method(law, count, num_classes - excluded, excluded),
            _ => unreachable!("not asked for here"),
        }
    };
    let steep: Vec<f64> = (0..1000).map(|k| 0.5_f64.powi(k)).collect();
    assert_eq!(method(Kind::LogUniform, 793_471, 8192, 0), Method::Rejection);
    assert_eq!(method(Kind::LogUniform, 793_471, 700_000, 0), Method::ExponentialKeys);
    assert_eq!(method(Kind::LogUniform, 1000, 400, 590), Method::ExponentialKeys);
    assert_eq!(method(unigram(&steep), 1000, 5, 0), Method::Rejection);
    assert_eq!(method(unigram(&steep), 1000, 50, 0), Method::ExponentialKeys);
    assert_eq!(method(Kind::Uniform, 1000, 750, 0), Method::Rejection);
    assert_eq!(method(Kind::Uniform, 1000, 751, 0), Method::Complement);
    assert_eq!(method(Kind::Uniform, 1000, 40, 950), Method::Complement);
    assert_eq!(method(Kind::Uniform, 1000, 50, 950), Method::Everything);
}
