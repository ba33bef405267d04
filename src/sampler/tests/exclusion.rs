//! Label exclusion and the avoid list.

use super::statistics::{assert_drawn_from, histogram};
use super::*;

fn excluding(labels: &[i64]) -> Trial {
    Trial { exclude_labels: true, ..Trial::labels(labels) }
}

/// SAMP-75.
#[test]
fn what_is_left_beside_the_label_is_drawn() {
    let sampler = sampler(Kind::Uniform, 4, 3, true);
    for step in 0..20 {
        let trial = Trial { step, ..excluding(&[1]) }.run(&sampler).unwrap();
        assert_eq!(trial.ids, [0, 2, 3]);
    }
}

/// SAMP-76. MindSpore silently stops excluding here.
#[test]
fn differs_from_mindspore_in_refusing_more_than_is_left() {
    let sampler = sampler(Kind::Uniform, 7, 6, true);
    let error = excluding(&[0, 1, 2, 1]).run(&sampler).unwrap_err();
    assert_eq!(
        error.to_string(),
        "num_sampled = 6, but of 7 classes of positive probability labels and avoid exclude 3, \
         which leaves 4 to draw distinct ones from"
    );
    assert!(excluding(&[0, 0, 0]).run(&sampler).is_ok());
}

#[test]
fn no_label_and_no_avoided_id_is_drawn() {
    let learned = Kind::LearnedUnigram { counts: None };
    let weights: Vec<f64> = (0..500).map(f64::from).collect();
    for kind in [Kind::Uniform, Kind::LogUniform, learned, unigram(&weights)] {
        for (unique, count) in [(true, 50), (true, 300), (true, 390), (false, 50), (false, 2000)] {
            let sampler = sampler(kind.clone(), 500, count, unique);
            for step in 0..5 {
                let labels: Vec<i64> = (1..60).chain(1..60).collect();
                let avoid: Vec<i64> = (50..100).rev().chain([499, 499]).collect();
                let trial = Trial { step, avoid: avoid.clone(), ..excluding(&labels) };
                let trial = trial.run(&sampler).unwrap();
                let is_out = |id: &i64| labels.contains(id) || avoid.contains(id);
                assert!(!trial.ids.iter().any(is_out));
            }
        }
    }
}

#[test]
fn the_avoid_list_works_beside_labels_that_may_be_drawn() {
    let sampler = sampler(Kind::LogUniform, 100, 98, true);
    let trial = Trial { labels: vec![5], ..Trial::avoiding(&[17, 23]) }.run(&sampler).unwrap();
    // TensorFlow's own check (RangeSamplerTest.Avoid).
    assert_eq!(trial.ids.iter().sum::<i64>(), 100 * 99 / 2 - 17 - 23);
}

#[test]
fn ignored_labels_exclude_nothing() {
    let sampler = sampler(Kind::Uniform, 10, 9, true);
    let trial = Trial { ignored: Some(3), ..excluding(&[3, 3, 8]) }.run(&sampler).unwrap();
    assert_eq!(trial.ids, [0, 1, 2, 3, 4, 5, 6, 7, 9]);
    let trial = Trial { ignored: Some(-100), ..excluding(&[-100, 8]) }.run(&sampler).unwrap();
    assert!(!trial.ids.contains(&8));
}

#[test]
fn exclusion_lasts_for_one_draw() {
    for (num_classes, count) in [(10, 9), (1_000_000, 20)] {
        let sampler = sampler(Kind::LogUniform, num_classes, count, true);
        let before = draw(&sampler, 0);
        Trial::avoiding(&before.ids[..1]).run(&sampler).unwrap();
        assert_eq!(draw(&sampler, 0), before);
    }
}

#[test]
fn with_replacement_the_others_keep_their_proportions() {
    let weights: Vec<f64> = (1..=40).map(f64::from).collect();
    // The second leaves 1/82 of the mass: it is drawn by inversion.
    for avoid in [(0..30).collect::<Vec<i64>>(), (4..40).collect()] {
        for kind in [unigram(&weights), Kind::LogUniform, Kind::Uniform] {
            let sampler = sampler(kind, 40, 500_000, false);
            let trial = Trial::avoiding(&avoid).run(&sampler).unwrap();
            let mut p = probabilities(&sampler);
            avoid.iter().for_each(|class| p[*class as usize] = 0.0);
            let left: f64 = p.iter().sum();
            p.iter_mut().for_each(|p| *p /= left);
            assert_drawn_from(&p, &histogram(40, trial.ids));
            // Rejected draws are tries, and change no count.
            assert_relative(trial.tries as f64, 500_000.0 / left, 0.01);
            let p = sampler.probability(39).unwrap();
            let q = Trial { labels: vec![39], ..Trial::avoiding(&avoid) }.run(&sampler).unwrap();
            assert_relative(q.expected_true[0], 500_000.0 * p, 1e-14);
        }
    }
}

#[test]
fn samples_of_one_and_two_are_inverted_without_bias() {
    let avoid: Vec<i64> = (4..40).collect();
    let weights: Vec<f64> = (1..=40).map(f64::from).collect();
    for count in [1, 2] {
        let sampler = sampler(unigram(&weights), 40, count, false);
        let trials = (0..50_000).map(|step| Trial { step, ..Trial::avoiding(&avoid) }.run(&sampler).unwrap());
        let observed = histogram(4, trials.flat_map(|trial| trial.ids));
        assert_drawn_from(&[0.1, 0.2, 0.3, 0.4], &observed);
    }
}

#[test]
fn a_class_of_tiny_probability_is_drawn_if_it_alone_is_left() {
    let sampler = sampler(unigram(&[1.0, 0.0, 1e-300, 3.0]), 4, 6, false);
    let trial = Trial::avoiding(&[3, 0]).run(&sampler).unwrap();
    assert_eq!(trial.ids, [2; 6]);
    assert_eq!(trial.tries, i64::MAX);
}

#[test]
fn rejected_labels_count_as_tries() {
    // Classes 0 .. 9 have 0.63 of the mass: most draws are refused.
    let labels: Vec<i64> = (0..10).collect();
    let sampler = sampler(Kind::LogUniform, 40, 1, true);
    let tries: i64 =
        (0..20_000).map(|step| Trial { step, ..excluding(&labels) }.run(&sampler).unwrap().tries).sum();
    let left = 1.0 - 11.0_f64.ln() / 41.0_f64.ln();
    assert_relative(tries as f64 / 20_000.0, 1.0 / left, 0.03);
}

#[test]
fn excluding_everything_is_refused_with_and_without_replacement() {
    for unique in [true, false] {
        let sampler = sampler(unigram(&[1.0, 2.0, 0.0]), 3, 2, unique);
        let error = Trial::avoiding(&[1, 0]).run(&sampler).unwrap_err();
        assert!(matches!(error, Error::InvalidValue(_)));
        let leaves = "of 2 classes of positive probability labels and avoid exclude 2, which leaves 0";
        assert!(error.to_string().contains(leaves), "{error}");
    }
    let all = sampler(Kind::All, 3, 3, true);
    assert!(matches!(Trial::avoiding(&[1]).run(&all), Err(Error::InvalidValue(_))));
}

#[test]
fn excluding_a_class_of_probability_0_takes_nothing_away() {
    let sampler = sampler(unigram(&[0.0, 2.0, 1.0]), 3, 2, true);
    assert_eq!(Trial::avoiding(&[0]).run(&sampler).unwrap().ids, [1, 2]);
}
