//! Chi-square tests, and the exact distribution of small samples without replacement.

/// Fails if `observed` counts would come from the probabilities `p` less often than once
/// in a million. Outcomes expected fewer than 20 times are pooled in order.
#[track_caller]
pub(super) fn assert_drawn_from(p: &[f64], observed: &[u64]) {
    let draws = observed.iter().sum::<u64>() as f64;
    let mut pools = vec![(0.0, 0.0)];
    for (p, observed) in p.iter().zip(observed) {
        assert!(*p > 0.0 || *observed == 0, "drawn against probability 0");
        if pools.last().is_some_and(|pool| pool.0 >= 20.0) {
            pools.push((0.0, 0.0));
        }
        let pool = pools.last_mut().unwrap();
        pool.0 += p * draws;
        pool.1 += *observed as f64;
    }
    if pools.len() > 1 && pools.last().is_some_and(|pool| pool.0 < 20.0) {
        let rest = pools.pop().unwrap();
        let pool = pools.last_mut().unwrap();
        *pool = (pool.0 + rest.0, pool.1 + rest.1);
    }
    assert!(pools.len() > 1, "nothing to compare");
    let statistic: f64 = pools.iter().map(|(want, got)| (got - want).powi(2) / want).sum();
    let limit = chi_square_limit((pools.len() - 1) as f64);
    assert!(statistic < limit, "chi-square {statistic:.1} over {limit:.1}, {} pools", pools.len());
}

/// What a chi-square variable exceeds once in a million (Wilson and Hilferty, 1931).
fn chi_square_limit(degrees: f64) -> f64 {
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + 4.753_424 * spread.sqrt()).powi(3)
}

/// How often each class was drawn.
pub(super) fn histogram(num_classes: i64, ids: impl IntoIterator<Item = i64>) -> Vec<u64> {
    let mut counts = vec![0; num_classes as usize];
    ids.into_iter().for_each(|id| counts[id as usize] += 1);
    counts
}

/// Successive draws without replacement from `p`, by enumeration.
pub(super) struct Successive {
    /// Probability of each set of `count` classes, the set as a bit mask.
    pub(super) sets: Vec<f64>,
    /// Mean number of draws with replacement until that many distinct ones have come.
    pub(super) mean_tries: f64,
}

/// Of `count` classes outside of the mask `excluded`.
pub(super) fn successive(p: &[f64], count: u32, excluded: usize) -> Successive {
    let num_sets = 1 << p.len();
    let mut reached = vec![0.0; num_sets];
    reached[0] = 1.0;
    let mut mean_tries = 0.0;
    for set in 0..num_sets {
        if usize::count_ones(set) >= count || reached[set] == 0.0 {
            continue;
        }
        let open = |class: &usize| (set | excluded) >> class & 1 == 0;
        let left: f64 = (0..p.len()).filter(open).map(|class| p[class]).sum();
        mean_tries += reached[set] / left;
        for class in (0..p.len()).filter(open) {
            let share = reached[set] * p[class] / left;
            reached[set | 1 << class] += share;
        }
    }
    for (set, reached) in reached.iter_mut().enumerate() {
        if set.count_ones() != count {
            *reached = 0.0;
        }
    }
    Successive { sets: reached, mean_tries }
}

#[test]
fn the_limit_is_the_tabulated_quantile() {
    // Solved from the incomplete gamma function.
    for (degrees, quantile) in [(10.0, 46.863), (100.0, 182.127), (1000.0, 1227.152)] {
        assert!((chi_square_limit(degrees) / quantile - 1.0_f64).abs() < 0.025);
    }
}

#[test]
#[should_panic(expected = "chi-square")]
fn a_biased_die_is_found_out() {
    assert_drawn_from(&[0.5, 0.5], &[50_500, 49_500 - 2_000]);
}

#[test]
fn enumeration_agrees_with_two_draws_by_hand() {
    let exact = successive(&[0.5, 0.3, 0.2], 2, 0);
    let want = 0.5 * 0.3 / 0.5 + 0.3 * 0.5 / 0.7;
    assert!((exact.sets[0b011] - want).abs() < 1e-15);
    assert!((exact.sets.iter().sum::<f64>() - 1.0).abs() < 1e-15);
    let want = 1.0 + 0.5 / 0.5 + 0.3 / 0.7 + 0.2 / 0.8;
    assert!((exact.mean_tries - want).abs() < 1e-15);
}
