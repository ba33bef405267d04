//! Draws of independent attempts: the same laws as those of the stream, and limits that are
//! said.

use super::statistics::{assert_drawn_from, histogram, successive};
use super::*;

fn philox(kind: Kind, num_classes: i64, num_sampled: i64, unique: bool) -> Sampler {
    Sampler::new(Config { generator: Generator::Philox, ..config(kind, num_classes, num_sampled, unique) })
        .unwrap()
}

#[test]
fn single_draws_have_the_probabilities_of_their_law() {
    for kind in [Kind::Uniform, Kind::LogUniform] {
        for num_classes in [1, 2, 7, 64, 1000] {
            let sampler = philox(kind.clone(), num_classes, 2000, false);
            let ids = (0..200).flat_map(|step| draw(&sampler, step).ids);
            let observed = histogram(num_classes, ids);
            match num_classes {
                1 => assert_eq!(observed, [400_000]),
                _ => assert_drawn_from(&probabilities(&sampler), &observed),
            }
        }
    }
}

#[test]
fn distinct_draws_are_those_of_successive_sampling() {
    const TRIALS: u64 = 100_000;
    for (kind, num_classes) in [(Kind::Uniform, 8), (Kind::LogUniform, 7)] {
        for count in 1..=3 {
            let sampler = philox(kind.clone(), num_classes, count, true);
            let exact = successive(&probabilities(&sampler), count as u32, 0);
            let mut observed = vec![0; exact.sets.len()];
            let mut tries = 0;
            for step in 0..TRIALS {
                let trial = draw(&sampler, step);
                observed[trial.ids.iter().fold(0, |mask, id| mask | 1 << id)] += 1;
                tries += trial.tries;
            }
            assert_drawn_from(&exact.sets, &observed);
            assert_relative(tries as f64 / TRIALS as f64, exact.mean_tries, 0.02);
        }
    }
}

#[test]
fn seeds_ranks_and_steps_give_other_draws() {
    let of = |seed, rank, step| {
        let config = Config {
            generator: Generator::Philox,
            seed,
            rank,
            ..config(Kind::LogUniform, 1_000_000, 64, true)
        };
        draw(&Sampler::new(config).unwrap(), step).ids
    };
    let mut draws: Vec<_> =
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 1 << 32), (u64::MAX, 1, 1), (0, 1, u64::MAX)]
            .map(|(seed, rank, step)| of(seed, rank, step))
            .to_vec();
    assert_eq!(of(1, 0, 0), draws[0]);
    draws.sort();
    draws.dedup();
    assert_eq!(draws.len(), 6);
}

#[test]
fn a_hundred_draws_take_no_more_attempts_than_are_enough() {
    for kind in [Kind::Uniform, Kind::LogUniform] {
        for (num_classes, count) in [(8, 3), (100, 20), (1000, 300), (1000, 740), (793_471, 8192)] {
            for unique in [true, false] {
                if unique && matches!(kind, Kind::LogUniform) && count == 740 {
                    continue;
                }
                let sampler = philox(kind.clone(), num_classes, count, unique);
                let enough = sampler.philox().unwrap().enough;
                // An attempt of the log-uniform law gives a class about seven times in ten.
                let most = (0..100).map(|step| draw(&sampler, step).tries).max().unwrap();
                assert!(enough >= most as u64, "{count} of {num_classes}: {enough} attempts, {most} tries");
                assert!(
                    enough < 8 * most as u64 + 400,
                    "{count} of {num_classes}: {enough} attempts, {most} tries"
                );
            }
        }
    }
}

#[test]
fn all_classes_come_at_once() {
    for kind in [Kind::Uniform, Kind::LogUniform] {
        let sampler = philox(kind, 100, 100, true);
        let trial = draw(&sampler, 3);
        assert_eq!(trial.ids, (0..100).collect::<Vec<_>>());
        assert_eq!((trial.tries, trial.sampled), (100, vec![1.0; 100]));
    }
}

#[test]
fn what_it_is_not_there_for_is_refused_by_name() {
    let refused = |kind, num_sampled, word: &str| {
        let config = Config { generator: Generator::Philox, ..config(kind, 1000, num_sampled, true) };
        let text = refusal(config).to_string();
        assert!(text.contains("SSL_GENERATOR_PHILOX") && text.contains(word), "{text}");
    };
    refused(unigram(&[1.0; 1000]), 5, "SSL_SAMPLER_UNIFORM");
    refused(Kind::LearnedUnigram { counts: None }, 5, "SSL_SAMPLER_UNIFORM");
    refused(Kind::Uniform, 751, "num_sampled = 751");
    refused(Kind::LogUniform, 999, "num_sampled = 999");
    let sampler = philox(Kind::Uniform, 1000, 5, true);
    let trial = Trial { avoid: vec![3], ..Trial::default() };
    let failure = trial.run(&sampler).unwrap_err().to_string();
    assert!(failure.contains("avoid"), "{failure}");
}

#[test]
fn classes_beyond_any_memory_are_drawn_too() {
    for num_classes in [1 << 34, 1_i64 << 53, i64::MAX] {
        for kind in [Kind::Uniform, Kind::LogUniform] {
            for unique in [true, false] {
                draw(&philox(kind.clone(), num_classes, 500, unique), 1);
            }
        }
    }
}
