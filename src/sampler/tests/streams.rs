//! A draw is a function of seed, step and rank.

use super::*;

fn at(seed: u64, rank: u64, kind: Kind) -> Sampler {
    Sampler::new(Config { seed, rank, ..config(kind, 1_000_000, 64, true) }).unwrap()
}

/// SAMP-70, SAMP-71.
#[test]
fn any_step_of_a_run_can_be_drawn_again_on_its_own() {
    for seed in [1, 12, 123, 1234] {
        for kind in [Kind::Uniform, Kind::LogUniform] {
            let run = at(seed, 0, kind.clone());
            let steps: Vec<Trial> = (0..6).map(|step| draw(&run, step)).collect();
            let restarted = at(seed, 0, kind);
            assert_eq!(draw(&restarted, 5), steps[5]);
            assert_eq!(draw(&restarted, 0), steps[0]);
        }
    }
}

#[test]
fn seeds_steps_and_ranks_each_change_the_draw() {
    let mut draws = std::collections::HashSet::new();
    for seed in [0, 1, 2, u64::MAX] {
        for rank in [0, 1, 2, u64::MAX] {
            for step in [0, 1, 2, u64::MAX] {
                assert!(draws.insert(draw(&at(seed, rank, Kind::Uniform), step).ids));
            }
        }
    }
}

#[test]
fn draws_of_different_steps_are_independent() {
    // Of two samples of a tenth of the classes, a hundredth is in both.
    let sampler = sampler(Kind::Uniform, 100_000, 10_000, true);
    let steps: Vec<Trial> = (0..6).map(|step| draw(&sampler, step)).collect();
    for (i, one) in steps.iter().enumerate() {
        for other in &steps[..i] {
            let common = one.ids.iter().filter(|id| other.ids.binary_search(id).is_ok()).count();
            assert!((850..1150).contains(&common), "{common} in common, 1000 expected");
        }
    }
}
