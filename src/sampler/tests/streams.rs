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

/// The numbers come from a separate program in Python's integers and floats, written
/// from the descriptions of the stream and of the two distributions.
#[test]
fn ids_are_those_of_an_independent_implementation() {
    let ids = |kind, num_classes, count, (seed, step, rank)| {
        let config = Config { seed, rank, ..config(kind, num_classes, count, true) };
        let trial = draw(&Sampler::new(config).unwrap(), step);
        (trial.ids, trial.tries)
    };
    let (million, run) = (1_000_000, (7, 5, 3));
    let want = [235_313, 290_399, 368_764, 504_568, 547_943, 637_035, 752_652, 804_378];
    assert_eq!(ids(Kind::Uniform, million, 8, run), (want.to_vec(), 8));
    let want = [0, 4, 20, 24, 161, 3_037, 42_282, 201_644];
    assert_eq!(ids(Kind::LogUniform, million, 8, run), (want.to_vec(), 8));

    let last = (u64::MAX, u64::MAX, 1);
    let want = [
        189_142_049_584_643_694,
        2_358_539_496_555_526_111,
        4_776_265_947_938_273_590,
        5_319_772_267_097_993_822,
    ];
    assert_eq!(ids(Kind::Uniform, i64::MAX, 4, last), (want.to_vec(), 4));
    let want = [103_334, 4_383_043_425, 55_227_359_376_000_756, 4_854_934_470_886_906_148];
    assert_eq!(ids(Kind::LogUniform, i64::MAX, 4, last), (want.to_vec(), 4));

    // Long samples by the hash that adds each id to 31 times what came before.
    for (kind, tries, want) in [
        (Kind::Uniform, 8_239, 2_515_244_706_327_495_825),
        (Kind::LogUniform, 15_978, 12_913_194_791_988_702_896),
    ] {
        let (ids, drawn) = ids(kind, 793_471, 8192, (1, 2, 0));
        let hash = ids.iter().fold(0_u64, |hash, id| hash.wrapping_mul(31).wrapping_add(*id as u64));
        assert_eq!((drawn, hash), (tries, want));
    }
}
