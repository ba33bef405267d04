//! Declared probabilities: their values, and that they are those drawn.

use super::super::vocabulary;
use super::statistics::{assert_drawn_from, histogram};
use super::*;

fn skewed_counts(num_classes: i64) -> Vec<i64> {
    (0..num_classes).map(|k| 1 + 100_000 / (k * k + 1)).collect()
}

/// Weights without order, every seventh of them 0.
fn rugged_weights(num_classes: i64) -> Vec<f64> {
    let weight = |k: i64| if k % 7 == 3 { 0.0 } else { ((k * 7919) % 1013 + 1) as f64 };
    (0..num_classes).map(weight).collect()
}

fn assert_declared_is_drawn(sampler: &Sampler) {
    let trial = draw(sampler, 3);
    let observed = histogram(sampler.num_classes, trial.ids);
    assert_drawn_from(&probabilities(sampler), &observed);
}

#[test]
fn drawn_frequencies_are_the_declared_probabilities() {
    let draws = 2_000_000;
    for num_classes in [2, 3, 5, 64, 1000, 10_000] {
        let learned = Kind::LearnedUnigram { counts: Some(skewed_counts(num_classes)) };
        let fixed = unigram(&rugged_weights(num_classes));
        for kind in [Kind::Uniform, Kind::LogUniform, learned, fixed] {
            assert_declared_is_drawn(&sampler(kind, num_classes, draws, false));
        }
    }
}

#[test]
fn alias_tables_of_extreme_weights_are_exact() {
    let one_heavy: Vec<f64> = (0..5000).map(|k| if k == 1234 { 1e6 } else { 1.0 }).collect();
    let steep: Vec<f64> = (0..300).map(|k| 0.5_f64.powi(k)).collect();
    let huge = vec![1e308; 50];
    for weights in [one_heavy, steep, huge] {
        let len = weights.len() as i64;
        assert_declared_is_drawn(&sampler(unigram(&weights), len, 2_000_000, false));
    }
}

/// SAMP-78.
#[test]
fn frequent_log_uniform_classes_come_as_often_as_declared() {
    let sampler = sampler(Kind::LogUniform, 10_000, 2_000_000, false);
    let observed = histogram(10_000, draw(&sampler, 0).ids);
    for (class, count) in observed.iter().enumerate().take(11) {
        let p = sampler.probability(class as i64).unwrap();
        assert_relative(*count as f64 / 2e6, p, 0.02);
    }
}

#[test]
fn every_class_of_a_hundred_million_is_within_reach() {
    let num_classes = 100_000_000;
    let sampler = sampler(Kind::LogUniform, num_classes, 4_000_000, false);
    let ids = draw(&sampler, 0).ids;
    // The upper half, where P changes by a factor of 2: its 64 stretches, and all
    // residues of ids, which a float32 or a coarse inverse would thin out.
    let half = num_classes / 2;
    let edge = |i: i64| half + half * i / 64;
    let log = |i: i64| ((edge(i + 1) + 1) as f64 / (edge(i) + 1) as f64).ln();
    let stretches: Vec<f64> = (0..64).map(|i| log(i) / 2.0_f64.ln()).collect();
    let upper: Vec<i64> = ids.into_iter().filter(|id| *id >= half).collect();
    assert_drawn_from(&stretches, &histogram(64, upper.iter().map(|id| (id - half) * 64 / half)));
    assert_drawn_from(&[1.0 / 256.0; 256], &histogram(256, upper.iter().map(|id| id % 256)));
    assert!(num_classes - upper[upper.len() - 1] < 10_000);
}

#[test]
fn log_uniform_octaves_of_the_largest_class_count_are_equal() {
    let sampler = sampler(Kind::LogUniform, i64::MAX, 1_000_000, false);
    let octaves = histogram(63, draw(&sampler, 0).ids.iter().map(|id| i64::from((id + 1).ilog2())));
    assert_drawn_from(&[1.0 / 63.0; 63], &octaves);
}

#[test]
fn log_uniform_probabilities_keep_their_precision_at_ten_million_classes() {
    let num_classes = 10_000_000;
    let sampler = sampler(Kind::LogUniform, num_classes, 1, true);
    let p = probabilities(&sampler);
    let log_classes = (num_classes as f64).ln_1p();
    for (class, p) in p.iter().enumerate() {
        assert_relative(*p, (1.0 / (class as f64 + 1.0)).ln_1p() / log_classes, 1e-14);
    }
    // The sum over [a, b) telescopes to one logarithm.
    for (a, b) in [(0, num_classes), (0, 10), (1000, 2000), (9_000_000, 10_000_000)] {
        let sum: f64 = p[a as usize..b as usize].iter().sum();
        let want = ((b + 1) as f64 / (a + 1) as f64).ln() / log_classes;
        assert_relative(sum, want, 1e-11);
    }
}

/// SAMP-51.
#[test]
fn log_uniform_golden_numbers_at_ten_million_classes() {
    let sampler = sampler(Kind::LogUniform, 10_000_000, 1, true);
    for (class, p) in [
        (0, 0.043_004_284_828_046_99),
        (1, 0.025_155_893_994_739_244),
        (100, 0.000_611_256_850_389_777_3),
        (9_999, 6.203_896_656_176_835e-6),
        (1_000_000, 6.204_197_539_544_196e-8),
        (5_000_000, 1.240_840_996_915_702_7e-8),
        (9_999_999, 6.204_206_535_629_667e-9),
    ] {
        assert_relative(sampler.probability(class).unwrap(), p, 1e-6);
    }
}

/// SAMP-49.
#[test]
fn uniform_golden_numbers() {
    let sampler = sampler(Kind::Uniform, 10, 1000, false);
    assert_eq!(probabilities(&sampler), [0.1; 10]);
    for count in histogram(10, draw(&sampler, 0).ids) {
        assert!((count as f64 / 1000.0 - 0.1).abs() < 0.05);
    }
}

/// SAMP-50.
#[test]
fn log_uniform_golden_numbers() {
    let want = [
        0.289_064_826_317_887_8,
        0.169_092_083_673_438_36,
        0.119_972_742_644_449_47,
        0.093_058_088_835_463_92,
        0.076_033_994_837_974_45,
        0.064_285_826_648_034_85,
        0.055_686_915_996_414_635,
        0.049_119_341_028_988_864,
        0.043_938_746_806_454_75,
        0.039_747_432_210_872_506,
    ];
    let sampler = sampler(Kind::LogUniform, 10, 1, true);
    for (p, want) in probabilities(&sampler).into_iter().zip(want) {
        assert_relative(p, want, 1e-6);
    }
}

/// SAMP-52.
#[test]
fn log_uniform_halves_when_the_class_doubles() {
    let sampler = sampler(Kind::LogUniform, 1_000_000, 1, true);
    let p = |class| sampler.probability(class).unwrap();
    let mut class = 100;
    while class < 1_000_000 {
        assert!((p(class) / p(class / 2) - 0.5).abs() <= 0.1);
        class *= 2;
    }
}

/// SAMP-55.
#[test]
fn fixed_unigram_golden_numbers() {
    let weights = (0..9).map(|i| 2.0_f64.powi(i)).collect();
    let kind = Kind::FixedUnigram(Unigram {
        weights: UnigramWeights::Memory(weights),
        distortion: 0.8,
        num_reserved_ids: 0,
        num_shards: 1,
        shard: 0,
    });
    assert_golden_unigram(&probabilities(&sampler(kind, 9, 1, true)));
}

/// The probabilities of SAMP-55 and SAMP-57.
#[track_caller]
pub(super) fn assert_golden_unigram(p: &[f64]) {
    let want = [
        0.005_074_874_516_274_011,
        0.008_835_869_737_598_97,
        0.015_384_142_754_555_921,
        0.026_785_328_161_613_29,
        0.046_636_000_069_282_64,
        0.081_197_992_260_384_18,
        0.141_373_915_801_583_54,
        0.246_146_284_072_894_77,
        0.428_565_572_505_812_7,
    ];
    assert_eq!(p.len(), want.len());
    for (p, want) in p.iter().zip(want) {
        assert!((p - want).abs() <= 1e-4, "{p} is not {want}");
    }
}

/// SAMP-59.
#[test]
fn distortion_0_is_uniform() {
    let unigram = Unigram {
        weights: UnigramWeights::Memory(vec![1.0, 2.0, 5.0]),
        distortion: 0.0,
        num_reserved_ids: 0,
        num_shards: 1,
        shard: 0,
    };
    assert_eq!(vocabulary::weights(&unigram, 3).unwrap(), [1.0; 3]);
    let sampler = sampler(Kind::FixedUnigram(unigram), 3, 2, false);
    let trial = Trial::labels(&[0, 1, 2]).run(&sampler).unwrap();
    trial.expected_true.iter().for_each(|q| assert_relative(*q, 2.0 / 3.0, 1e-6));
}

#[test]
fn probability_is_0_outside_and_none_where_the_caller_draws() {
    let uniform = sampler(Kind::Uniform, 4, 2, true);
    assert_eq!((uniform.probability(-1), uniform.probability(4)), (Some(0.0), Some(0.0)));
    assert_eq!(sampler(Kind::All, 4, 4, true).probability(2), Some(1.0));
    assert_eq!(sampler(Kind::Caller, 4, 2, true).probability(2), None);
}
