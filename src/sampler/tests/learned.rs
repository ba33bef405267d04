//! The learned unigram sampler: it follows the labels, and its state can be kept.

use super::statistics::{assert_drawn_from, histogram};
use super::*;

fn learned(num_classes: i64, num_sampled: i64, counts: Option<Vec<i64>>) -> Sampler {
    sampler(Kind::LearnedUnigram { counts }, num_classes, num_sampled, true)
}

fn saved(sampler: &Sampler) -> Vec<i64> {
    let mut counts = vec![0; sampler.num_classes as usize];
    sampler.save_learned(&mut counts).unwrap();
    counts
}

/// SAMP-53.
#[test]
fn ten_labels_of_class_3() {
    let sampler = learned(10, 1, None);
    assert_eq!(probabilities(&sampler), [0.1; 10]);
    Trial::labels(&[3; 10]).run(&sampler).unwrap();
    for (class, p) in probabilities(&sampler).into_iter().enumerate() {
        assert!((p - if class == 3 { 0.55 } else { 0.05 }).abs() <= 1e-4);
    }
}

/// TensorFlow's RangeSamplerTest.UnigramProbabilities2.
#[test]
fn class_n_seen_n_times() {
    let sampler = learned(10, 1, None);
    for first in 1..10 {
        Trial::labels(&(first..10).collect::<Vec<i64>>()).run(&sampler).unwrap();
    }
    for (class, p) in probabilities(&sampler).into_iter().enumerate() {
        assert_relative(p, (class as f64 + 1.0) / 55.0, 1e-15);
    }
}

#[test]
fn draws_follow_the_counts_that_labels_have_left() {
    for num_classes in [1, 2, 63, 64, 65, 1000] {
        let kind = Kind::LearnedUnigram { counts: None };
        let sampler = sampler(kind, num_classes, 1_000_000, false);
        let labels: Vec<i64> = (0..5000).map(|i| i * i % num_classes).collect();
        Trial::labels(&labels).run(&sampler).unwrap();
        let mut want = vec![1; num_classes as usize];
        labels.iter().for_each(|label| want[*label as usize] += 1);
        assert_eq!(saved(&sampler), want);
        let p = probabilities(&sampler);
        if num_classes > 1 {
            assert_drawn_from(&p, &histogram(num_classes, draw(&sampler, 1).ids));
        }
    }
}

#[test]
fn a_restored_sampler_resumes_exactly() {
    let batch = |step: u64| {
        let labels: Vec<i64> = (0..64).map(|i| (i * i + 37 * step as i64) % 500).collect();
        Trial { step, ignored: Some(4), ..Trial::labels(&labels) }
    };
    let run = learned(500, 40, None);
    let mut counts = Vec::new();
    let mut steps = Vec::new();
    for step in 0..10 {
        if step == 5 {
            counts = saved(&run);
        }
        steps.push(batch(step).run(&run).unwrap());
    }
    let resumed = learned(500, 40, Some(counts));
    for step in 5..10 {
        assert_eq!(batch(step).run(&resumed).unwrap(), steps[step as usize]);
    }
    assert_eq!(saved(&resumed), saved(&run));
    assert_eq!(saved(&run)[4], 1, "ignored labels teach nothing");
}

#[test]
fn counts_are_those_before_the_update_and_learned_those_after() {
    let sampler = learned(4, 1, Some(vec![1, 2, 3, 4]));
    let (mut expected, mut after) = ([0.0; 3], [0; 4]);
    let tries = sampler
        .draw(Draw {
            step: 0,
            labels: Labels::I32(&[3, 3, 0]),
            num_true: 1,
            ignored: None,
            exclude_labels: false,
            avoid: &[],
            ids: &mut [0],
            sampled: None,
            expected_true: Some(Counts::F64(&mut expected)),
            learned: Some(&mut after),
        })
        .unwrap();
    assert_eq!((tries, expected, after), (1, [0.4, 0.4, 0.1], [2, 2, 3, 6]));
}

#[test]
fn a_failed_draw_teaches_nothing() {
    let sampler = learned(10, 6, None);
    let labels: Vec<i64> = (0..5).collect();
    let trial = Trial { exclude_labels: true, ..Trial::labels(&labels) };
    assert!(trial.run(&sampler).is_err());
    assert!(Trial { avoid: vec![10], ..Trial::labels(&labels) }.run(&sampler).is_err());
    assert_eq!(saved(&sampler), [1; 10]);
}

#[test]
fn concurrent_draws_lose_no_label() {
    let sampler = learned(100, 20, None);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sampler = &sampler;
            scope.spawn(move || {
                for step in 0..200 {
                    Trial { step, ..Trial::labels(&[thread; 10]) }.run(sampler).unwrap();
                }
            });
        }
    });
    let counts = saved(&sampler);
    assert_eq!(counts[..5], [2001, 2001, 2001, 2001, 1]);
}

#[test]
fn counts_near_the_end_of_int64_neither_wrap_nor_learn() {
    let sampler = learned(2, 1, Some(vec![i64::MAX - 5, 3]));
    Trial::labels(&[0, 1]).run(&sampler).unwrap();
    let error = Trial::labels(&[0]).run(&sampler).unwrap_err();
    assert_eq!(
        error.to_string(),
        "learned_counts: their sum 9223372036854775807 and 1 more labels overflow int64"
    );
    draw(&sampler, 0);
    assert_eq!(saved(&sampler), [i64::MAX - 4, 4]);
}

#[test]
fn counts_to_start_from_are_checked() {
    let refuse = |counts: &[i64]| {
        refusal(config(Kind::LearnedUnigram { counts: Some(counts.to_vec()) }, 3, 1, true)).to_string()
    };
    assert_eq!(refuse(&[1, 2, 0]), "learned_counts[2] = 0 must be at least 1");
    assert_eq!(refuse(&[1, 2]), "learned_counts has 2 elements, but num_classes is 3");
    assert_eq!(refuse(&[1, i64::MAX, 1]), "learned_counts: the sum of the first 2 overflows int64");
}

#[test]
fn only_a_learning_sampler_has_learned_counts() {
    let sampler = sampler(Kind::Uniform, 3, 1, true);
    let error = sampler.save_learned(&mut [0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "learned_counts: only SSL_SAMPLER_LEARNED_UNIGRAM has any");
    let mut short = [0; 2];
    assert!(matches!(learned(3, 1, None).save_learned(&mut short), Err(Error::Shape(_))));
}
