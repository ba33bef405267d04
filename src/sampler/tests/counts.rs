//! Expected counts.

use super::super::expected_count::ExpectedCount;
use super::statistics::histogram;
use super::*;

fn exact(kind: Kind, num_classes: i64, num_sampled: i64, unique: bool) -> Sampler {
    let config = config(kind, num_classes, num_sampled, unique);
    Sampler::new(Config { counts: CountRule::Exact, ..config }).unwrap()
}

/// SAMP-63.
#[test]
fn tensorflow_counts_golden_numbers() {
    for (p, count, tries, want) in [
        (0.1, 5, 5, 0.5),
        (0.1, 5, 8, 0.569_532_79),
        (1e-8, 1000, 1005, 1.004_994_954_916_867_6e-5),
        (0.9, 2, 40, 1.0),
    ] {
        let mut value = [p];
        ExpectedCount::of_tries(count, tries).apply(&mut value);
        assert_relative(value[0], want, 1e-6);
    }
}

#[test]
fn counts_agree_with_libm_over_all_probabilities() {
    for tries in [2_i64, 1000, 16_000, 1 << 40] {
        for exponent in 0..600 {
            let p = 2.0_f64.powf(-f64::from(exponent) / 8.0);
            let mut alone = [p];
            ExpectedCount::of_tries(1, tries).apply(&mut alone);
            let want = -(tries as f64 * (-p).ln_1p()).exp_m1();
            assert_relative(alone[0], want, 1e-14);
            // The same bits beside any other class.
            let mut beside = [p, 0.9];
            ExpectedCount::of_tries(1, tries).apply(&mut beside);
            assert_eq!(alone[0].to_bits(), beside[0].to_bits());
        }
    }
}

/// SAMP-64.
#[test]
fn all_counts_of_a_draw_follow_from_its_tries() {
    let sampler = sampler(Kind::LogUniform, 100, 50, true);
    for step in 0..100 {
        let labels: Vec<i64> = (0..100).collect();
        let trial = Trial { step, ..Trial::labels(&labels) }.run(&sampler).unwrap();
        let want = |class: i64| {
            let p = sampler.probability(class).unwrap();
            -(trial.tries as f64 * (-p).ln_1p()).exp_m1()
        };
        for (class, q) in labels.iter().zip(&trial.expected_true) {
            assert_relative(*q, want(*class), 1e-13);
        }
        for (id, q) in trial.ids.iter().zip(&trial.sampled) {
            assert_eq!(*q, trial.expected_true[*id as usize]);
        }
    }
}

/// SAMP-65.
#[test]
fn counts_are_the_observed_inclusion_frequencies() {
    let sampler = sampler(Kind::LogUniform, 100, 50, true);
    let labels: Vec<i64> = (0..100).collect();
    let trials: Vec<Trial> =
        (0..100).map(|step| Trial { step, ..Trial::labels(&labels) }.run(&sampler).unwrap()).collect();
    let frequencies = histogram(100, trials.iter().flat_map(|trial| trial.ids.clone()));
    for (class, frequency) in frequencies.into_iter().enumerate() {
        let expected = || trials.iter().map(|trial| trial.expected_true[class]);
        let mean = expected().sum::<f64>() / 100.0;
        assert!((frequency as f64 / 100.0 - mean).abs() <= 0.2);
        assert!(expected().all(|q| (q - mean).abs() <= 0.5 * mean));
    }
}

/// SAMP-62.
#[test]
fn the_sampler_of_all_classes_has_counts_of_exactly_1() {
    for unique in [true, false] {
        let sampler = sampler(Kind::All, 5, 5, unique);
        let trial = Trial::labels(&[1, 2, 0, 4, 3, 3]).run(&sampler).unwrap();
        assert_eq!(trial.ids, [0, 1, 2, 3, 4]);
        assert_eq!((trial.sampled, trial.expected_true), (vec![1.0; 5], vec![1.0; 6]));
    }
}

/// SAMP-67. TensorFlow takes 1 - (1 - p)^tries here too, about 0.89 for C = 5 and
/// different from call to call, though every class is sure to come.
#[test]
fn differs_from_tensorflow_in_certain_classes_having_a_count_of_1() {
    for kind in [Kind::Uniform, Kind::LogUniform] {
        let trial = draw(&sampler(kind, 5, 5, true), 0);
        assert_eq!((trial.ids, trial.sampled), (vec![0, 1, 2, 3, 4], vec![1.0; 5]));
    }
}

/// SAMP-68.
#[test]
fn exact_counts_of_a_uniform_sample_are_s_over_c() {
    let sampler = exact(Kind::Uniform, 1000, 500, true);
    let trial = Trial::labels(&[0, 999]).run(&sampler).unwrap();
    assert!(trial.sampled.iter().chain(&trial.expected_true).all(|q| *q == 0.5));
    let tf = draw(&super::sampler(Kind::Uniform, 1000, 500, true), 0);
    assert!((tf.sampled[0] - 0.499_92).abs() < 0.05);
    assert_eq!(tf.ids, trial.ids);
}

#[test]
fn exact_counts_allow_for_excluded_classes() {
    let sampler = exact(Kind::Uniform, 1000, 90, true);
    let labels: Vec<i64> = (0..100).flat_map(|label| [label, label]).collect();
    let trial = Trial { exclude_labels: true, ..Trial::labels(&labels) };
    let trial = trial.run(&sampler).unwrap();
    assert!(trial.sampled.iter().chain(&trial.expected_true).all(|q| *q == 0.1));
}

#[test]
fn exact_counts_elsewhere_are_those_of_tensorflow() {
    let tf = draw(&sampler(Kind::LogUniform, 1000, 90, true), 4);
    assert_eq!(draw(&exact(Kind::LogUniform, 1000, 90, true), 4), tf);
    let tf = draw(&sampler(Kind::Uniform, 1000, 90, false), 4);
    assert_eq!(draw(&exact(Kind::Uniform, 1000, 90, false), 4), tf);
}

/// SAMP-69.
#[test]
fn counts_with_replacement_are_s_times_p_and_may_exceed_1() {
    let sampler = sampler(Kind::Uniform, 4, 8, false);
    let trial = Trial::labels(&[0]).run(&sampler).unwrap();
    assert_eq!((trial.sampled, trial.expected_true), (vec![2.0; 8], vec![2.0]));
    assert_eq!(trial.tries, 8);
}

/// SAMP-74.
#[test]
fn shapes_follow_from_samples_and_labels() {
    let sampler = sampler(Kind::Uniform, 4, 3, true);
    let trial = Trial::labels(&[1, 2, 3, 2, 0, 2, 1, 2, 3, 2]).run(&sampler).unwrap();
    assert_eq!((trial.ids.len(), trial.sampled.len(), trial.expected_true.len()), (3, 3, 10));
    assert!(trial.sampled.iter().chain(&trial.expected_true).all(|q| *q > 0.0 && *q < 1.0));
}

#[test]
fn float32_counts_are_the_float64_ones_rounded() {
    let sampler = sampler(Kind::LogUniform, 1000, 300, true);
    let want = Trial::labels(&[0, 5, 999]).run(&sampler).unwrap();
    let (mut ids, mut sampled, mut expected) = (vec![0; 300], vec![0.0; 300], vec![0.0; 3]);
    sampler
        .draw(Draw {
            step: 0,
            labels: Labels::I32(&[0, 5, 999]),
            num_true: 3,
            ignored: None,
            exclude_labels: false,
            avoid: &[],
            ids: &mut ids,
            sampled: Some(Counts::F32(&mut sampled)),
            expected_true: Some(Counts::F32(&mut expected)),
            learned: None,
        })
        .unwrap();
    let rounded = |values: &[f64]| values.iter().map(|q| *q as f32).collect::<Vec<_>>();
    assert_eq!((sampled, expected), (rounded(&want.sampled), rounded(&want.expected_true)));
}

#[test]
fn a_float32_count_of_a_possible_class_is_never_0() {
    let sampler = sampler(unigram(&[1.0, 1e-300]), 2, 1, true);
    let mut expected = [-1.0; 3];
    sampler
        .draw(Draw {
            step: 0,
            labels: Labels::I64(&[0, 1, -100]),
            num_true: 1,
            ignored: Some(-100),
            exclude_labels: false,
            avoid: &[],
            ids: &mut [0],
            sampled: None,
            expected_true: Some(Counts::F32(&mut expected)),
            learned: None,
        })
        .unwrap();
    assert_eq!(expected, [1.0, f32::from_bits(1), 0.0]);
}

#[test]
fn ignored_labels_have_a_count_of_0() {
    let sampler = sampler(Kind::LogUniform, 1000, 30, true);
    let labels: Vec<i64> = (0..400).map(|i| if i % 3 == 1 { -1 } else { i }).collect();
    let trial = Trial { ignored: Some(-1), ..Trial::labels(&labels) }.run(&sampler).unwrap();
    for (label, q) in labels.iter().zip(&trial.expected_true) {
        assert_eq!(*q == 0.0, *label == -1);
    }
}
