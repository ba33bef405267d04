//! Classes that must not be drawn: an avoid list, and the labels of the batch.

mod common;

use std::sync::Arc;

use common::drawing::{SAMPLERS, drawing_case, drawing_config, drawing_handle, learned_counts, sampled};
use common::{Call, Case, Handle, Random};
use sampled_softmax::abi::*;

fn sample_avoiding(handle: &Handle, case: &Case, avoid: &[i64]) -> Result<Vec<i64>, common::Failure> {
    let mut ids = vec![i64::MIN; case.sampled()];
    let mut call = Call::drawing(case, Arc::new(Handle::create(&drawing_config(0)).unwrap()), 0);
    let mut arguments = call.arguments();
    arguments.candidates.ids = ids.as_mut_ptr();
    arguments.candidates.avoid = avoid.as_ptr();
    arguments.candidates.num_avoid = avoid.len() as i64;
    arguments.sample(handle)?;
    Ok(ids)
}

#[test]
fn avoided_classes_are_not_drawn() {
    let case = drawing_case(9);
    for sampler in SAMPLERS {
        for sampling in [SSL_SAMPLING_UNIQUE, SSL_SAMPLING_REPLACEMENT] {
            let handle = drawing_handle(ssl_config { sampling, ..drawing_config(sampler) });
            let avoid = [3, 0, 1, 99, 3, 3, 50, 2];
            let ids = sample_avoiding(&handle, &case, &avoid).unwrap();
            assert!(ids.iter().all(|id| !avoid.contains(id)), "{ids:?}");
        }
    }
}

/// 80 avoided classes leave exactly S; with 81 there is nothing to draw.
#[test]
fn avoiding_too_much_is_an_error_and_not_an_endless_search() {
    let case = drawing_case(10);
    for sampler in SAMPLERS {
        let handle = drawing_handle(drawing_config(sampler));
        let avoid: Vec<i64> = (0..81).collect();
        let ids = sample_avoiding(&handle, &case, &avoid[..80]).unwrap();
        assert_eq!(ids, (80..100).collect::<Vec<i64>>());
        let failure = sample_avoiding(&handle, &case, &avoid).unwrap_err();
        assert_eq!(failure.status, SSL_STATUS_INVALID_VALUE, "{}", failure.message);
        for word in ["20", "19"] {
            assert!(failure.message.contains(word), "{}", failure.message);
        }
    }
}

#[test]
fn avoided_classes_must_be_classes() {
    let handle = drawing_handle(drawing_config(SSL_SAMPLER_UNIFORM));
    for id in [100, -1] {
        let failure = sample_avoiding(&handle, &drawing_case(11), &[4, id]).unwrap_err();
        assert_eq!(failure.status, SSL_STATUS_LABEL_RANGE);
        assert!(failure.message.contains(&format!("avoid[1] = {id}")), "{}", failure.message);
    }
}

#[test]
fn excluded_labels_of_any_row_are_not_drawn() {
    let mut case = drawing_case(12);
    case.labels = vec![0, 1, 2, 3, 4, 5, 0, 0, 1, 7, 8, 9];
    for sampler in SAMPLERS {
        let handle = drawing_handle(ssl_config { hits: SSL_HITS_EXCLUDE, ..drawing_config(sampler) });
        for step in 0..10 {
            let ids = sampled(&case, &handle, step).ids;
            assert!(ids.iter().all(|id| !case.labels.contains(id)), "{ids:?}");
        }
    }
}

/// Where labels and candidates together need more classes than there are, other
/// libraries switch exclusion off without a word.
#[test]
fn exclusion_that_leaves_too_few_classes_is_an_error() {
    let mut case = Case::random([6, 5, 30, 20, 2], &mut Random::new(13));
    case.hits = SSL_HITS_EXCLUDE;
    let config = ssl_config { num_classes: 30, hits: SSL_HITS_EXCLUDE, ..drawing_config(0) };
    let handle = drawing_handle(config);
    // 10 distinct labels leave exactly 20 classes.
    case.labels = vec![20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 20, 29];
    let mut call = Call::drawing(&case, Arc::clone(&handle), 0);
    call.forward_backward().unwrap();
    assert_eq!(call.outputs.ids, (0..20).collect::<Vec<i64>>());
    case.labels[11] = 0;
    let mut call = Call::drawing(&case, handle, 0);
    let before = call.outputs.clone();
    let failure = call.forward_backward().unwrap_err();
    assert_eq!(failure.status, SSL_STATUS_INVALID_VALUE, "{}", failure.message);
    for word in ["20", "11", "30"] {
        assert!(failure.message.contains(word), "{} lacks {word}", failure.message);
    }
    assert_eq!(call.outputs, before);
}

#[test]
fn ignored_labels_are_neither_counted_nor_excluded() {
    let mut case = drawing_case(14);
    case.ignore_index = Some(-1);
    case.labels[4..6].fill(-1);
    for sampler in SAMPLERS {
        let handle = drawing_handle(ssl_config { hits: SSL_HITS_EXCLUDE, ..drawing_config(sampler) });
        let drawn = sampled(&case, &handle, 0);
        assert_eq!(drawn.true_expected_count.values()[4..6], [0.0; 2]);
        if let Some(counts) = learned_counts(&handle) {
            assert_eq!(counts.iter().sum::<i64>(), 100 + 10);
        }
    }
}
