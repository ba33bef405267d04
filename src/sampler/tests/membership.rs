//! Sets of classes against the standard library's.

use std::collections::BTreeSet;

use super::super::bitmap::Bitmap;
use super::super::excluded::Excluded;
use super::super::id_table::IdTable;
use super::super::membership::{Members, Membership};
use proptest::prelude::*;

fn assert_is_a_set(members: &mut impl Members, avoid: &[i64], classes: &[i64], range: i64) {
    let excluded: BTreeSet<i64> = avoid.iter().copied().collect();
    let mut drawn = BTreeSet::new();
    let mut excluded_so_far = BTreeSet::new();
    for class in avoid {
        assert_eq!(members.exclude(*class), excluded_so_far.insert(*class));
    }
    for class in classes {
        let is_new = !excluded.contains(class) && drawn.insert(*class);
        assert_eq!(members.insert(*class), is_new);
    }
    for class in 0..range {
        assert_eq!(members.contains(class), drawn.contains(&class) || excluded.contains(&class));
    }
    let mut ids = vec![0; drawn.len()];
    members.take(&Excluded { labels: None, ignored: None, avoid }, &mut ids);
    assert_eq!(ids, drawn.into_iter().collect::<Vec<_>>());
    assert!((0..range).all(|class| !members.contains(class)));
}

proptest! {
    #[test]
    fn both_structures_are_ordered_sets(
        avoid in prop::collection::vec(0_i64..9000, 0..60),
        rounds in prop::collection::vec(prop::collection::vec(0_i64..9000, 0..200), 1..4),
    ) {
        let mut bitmap = Bitmap::new(9000).unwrap();
        let mut table = IdTable::new();
        for classes in rounds {
            table.reserve(avoid.len() + classes.len()).unwrap();
            assert_is_a_set(&mut bitmap, &avoid, &classes, 9000);
            assert_is_a_set(&mut table, &avoid, &classes, 9000);
        }
    }
}

#[test]
fn colliding_classes_are_kept_apart() {
    // Multiples of 2^60 share the low bits, and runs of neighbours fill a table half up.
    let mut table = IdTable::new();
    let classes: Vec<i64> = (0..8).map(|i| i << 60).chain((0..500).map(|i| i64::MAX - i)).collect();
    table.reserve(classes.len()).unwrap();
    assert!(classes.iter().all(|class| table.insert(*class)));
    assert!(classes.iter().all(|class| !table.insert(*class)));
    assert!(!table.contains(1));
}

#[test]
fn clearing_removes_everything() {
    let mut bitmap = Bitmap::new(1000).unwrap();
    let mut table = IdTable::new();
    table.reserve(2).unwrap();
    for members in [&mut bitmap as &mut dyn Members, &mut table] {
        assert!(members.insert(999) && members.exclude(5));
        members.clear();
        assert!(!members.contains(999) && !members.contains(5));
    }
}

#[test]
fn the_structure_follows_from_classes_and_samples() {
    let is_bitmap = |num_classes, num_sampled| {
        matches!(Membership::new(num_classes, num_sampled).unwrap(), Membership::Bitmap(_))
    };
    assert!(is_bitmap(793_471, 8192) && is_bitmap(10_000_000, 8192));
    assert!(!is_bitmap(10_000_000, 1) && !is_bitmap(i64::MAX, usize::MAX >> 1));
}
