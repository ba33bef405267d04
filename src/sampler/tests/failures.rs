//! What is refused, in which words, and that nothing is written then.

use super::super::Law;
use super::super::membership::{Members, Membership};
use super::*;

#[test]
fn sizes_are_refused_by_name_and_number() {
    for (kind, num_classes, num_sampled, unique, want) in [
        (Kind::Uniform, 0, 1, true, "num_classes = 0 must be at least 1"),
        (Kind::LogUniform, -3, 1, true, "num_classes = -3 must be at least 1"),
        (Kind::Caller, 5, 0, true, "num_sampled = 0 must be at least 1"),
        (Kind::LogUniform, 5, 6, true, "num_sampled = 6 distinct classes exceed num_classes = 5"),
        (Kind::All, 5, 4, true, "num_sampled = 4, but SSL_SAMPLER_ALL takes all num_classes = 5"),
        (
            unigram(&[0.0, 1.0, 0.0, 2.0]),
            4,
            3,
            true,
            "num_sampled = 3 distinct classes, but 2 of num_classes = 4 have a positive \
             probability",
        ),
    ] {
        let error = refusal(config(kind, num_classes, num_sampled, unique));
        assert_eq!(error.to_string(), want);
        assert!(matches!(error, Error::InvalidValue(_)));
    }
    for kind in [Kind::Uniform, Kind::LogUniform, unigram(&[0.0, 1.0, 1.0, 1.0, 1.0])] {
        sampler(kind, 5, 60, false);
    }
    sampler(Kind::Caller, 5, 60, true);
}

#[test]
fn memory_that_no_machine_has_is_an_error() {
    let learned = Kind::LearnedUnigram { counts: None };
    for (kind, count) in [(learned, 1), (Kind::Uniform, i64::MAX), (Kind::LogUniform, 1 << 60)] {
        let error = refusal(config(kind, i64::MAX, count, true));
        assert!(matches!(error, Error::HostMemory { .. }), "{error}");
    }
}

/// Runs a draw that must fail and checks that its outputs stay as they were.
fn failed(sampler: &Sampler, trial: &Trial, num_true: usize) -> Error {
    let mut ids = vec![-9; sampler.num_sampled];
    let mut sampled = vec![-9.0_f32; sampler.num_sampled];
    let mut expected = vec![-9.0; trial.labels.len()];
    let learned_before = vec![-9; sampler.num_classes as usize];
    let mut learned = learned_before.clone();
    let has_learned = matches!(sampler.law, Law::LearnedUnigram);
    let error = sampler
        .draw(Draw {
            step: trial.step,
            labels: Labels::I64(&trial.labels),
            num_true,
            ignored: trial.ignored,
            exclude_labels: trial.exclude_labels,
            avoid: &trial.avoid,
            ids: &mut ids,
            sampled: Some(Counts::F32(&mut sampled)),
            expected_true: Some(Counts::F64(&mut expected)),
            learned: has_learned.then_some(&mut learned),
        })
        .unwrap_err();
    assert!(ids.iter().all(|id| *id == -9));
    assert!(sampled.iter().all(|q| *q == -9.0) && expected.iter().all(|q| *q == -9.0));
    assert_eq!(learned, learned_before);
    error
}

#[test]
fn a_failed_draw_writes_nothing_and_leaves_nothing_behind() {
    let learned = Kind::LearnedUnigram { counts: None };
    for kind in [Kind::Uniform, Kind::LogUniform, learned, unigram(&[1.0; 10])] {
        let used = sampler(kind.clone(), 10, 6, true);
        let crowded = Trial { exclude_labels: true, ..Trial::labels(&[0, 1, 2, 3, 4]) };
        assert!(matches!(failed(&used, &crowded, 1), Error::InvalidValue(_)));
        assert!(matches!(failed(&used, &Trial::avoiding(&[-1]), 1), Error::LabelRange { .. }));
        assert!(matches!(failed(&used, &Trial::labels(&[10]), 1), Error::LabelRange { .. }));
        assert_eq!(draw(&used, 3), draw(&sampler(kind, 10, 6, true), 3));
    }
}

/// SAMP-73.
#[test]
fn labels_and_avoided_ids_out_of_range_are_named() {
    let sampler = sampler(Kind::Uniform, 3, 2, true);
    let message = |trial: Trial, num_true| failed(&sampler, &trial, num_true).to_string();
    assert_eq!(message(Trial::labels(&[7]), 1), "labels[0] = 7 is outside [0, 3)");
    assert_eq!(message(Trial::labels(&[0, 1, 2, -1]), 2), "labels[1, 1] = -1 is outside [0, 3)");
    assert_eq!(message(Trial::avoiding(&[0, 3]), 1), "avoid[1] = 3 is outside [0, 3)");
}

#[test]
fn a_label_that_is_never_sampled_is_named_where_its_count_is_asked_for() {
    let sampler = sampler(unigram(&[0.0, 1.0, 2.0]), 3, 2, true);
    let error = failed(&sampler, &Trial::labels(&[1, 2, 0, 1]), 1);
    let want = "labels[2] = 0: class 0 is never sampled, its expected count is 0";
    assert_eq!(error.to_string(), want);
    assert!(matches!(error, Error::ExpectedCount(_)));
    let error = failed(&sampler, &Trial::labels(&[1, 2, 0, 1]), 2);
    let want = "labels[1, 0] = 0: class 0 is never sampled, its expected count is 0";
    assert_eq!(error.to_string(), want);
    let (mut ids, labels) = ([0; 2], [0, 0]);
    let without_counts = Draw {
        step: 0,
        labels: Labels::I64(&labels),
        num_true: 1,
        ignored: None,
        exclude_labels: false,
        avoid: &[],
        ids: &mut ids,
        sampled: None,
        expected_true: None,
        learned: None,
    };
    assert!(sampler.draw(without_counts).is_ok());
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_sampler_without_candidates_of_its_own_says_where_they_go() {
    let error = failed(&sampler(Kind::Caller, 5, 2, true), &Trial::default(), 1);
    assert!(matches!(error, Error::InvalidValue(_)));
    assert!(error.to_string().contains("SSL_CANDIDATES_GIVEN"), "{error}");
}

#[test]
fn outputs_of_the_wrong_length_are_refused() {
    let sampler = sampler(Kind::Uniform, 5, 2, true);
    let (mut ids, mut short, mut learned) = ([-9; 2], [-9.0; 1], [-9; 5]);
    let mut attempt = |ids: &mut [i64], case: usize| {
        let draw = Draw {
            step: 0,
            labels: Labels::I64(&[1, 2]),
            num_true: 1,
            ignored: None,
            exclude_labels: false,
            avoid: &[],
            ids,
            sampled: (case == 1).then_some(Counts::F64(&mut short)),
            expected_true: None,
            learned: (case == 2).then_some(&mut learned),
        };
        sampler.draw(draw).unwrap_err().to_string()
    };
    assert_eq!(attempt(&mut [0; 3], 0), "ids has 3 elements, but num_sampled is 2");
    assert_eq!(attempt(&mut ids, 1), "sampled_expected_count has 1 elements, but num_sampled is 2");
    assert_eq!(attempt(&mut ids, 2), "learned_counts: only SSL_SAMPLER_LEARNED_UNIGRAM has any");
    assert_eq!((ids, short, learned), ([-9; 2], [-9.0], [-9; 5]));
}

#[test]
fn a_thread_that_panics_spoils_no_later_draw() {
    for (num_classes, count) in [(1000, 50), (1_000_000, 5)] {
        let sampler = sampler(Kind::LogUniform, num_classes, count, true);
        let want = draw(&sampler, 2);
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut state = sampler.lock().unwrap();
                state.unclean = true;
                let members = count as usize;
                let (set, _) = state.scratch.members(num_classes, members, members).unwrap();
                match set {
                    Membership::Bitmap(set) => mark_all(set, &want.ids),
                    Membership::Table(set) => mark_all(set, &want.ids),
                }
                panic!("in the middle of a draw");
            });
            holder.join().is_err()
        });
        assert!(panicked && sampler.state.is_poisoned());
        assert_eq!(draw(&sampler, 2), want);
        assert_eq!(draw(&sampler, 2), want);
    }
}

fn mark_all(members: &mut impl Members, ids: &[i64]) {
    ids.iter().for_each(|id| assert!(members.insert(*id)));
}
