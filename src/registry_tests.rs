use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use super::*;

/// Says when it is dropped.
struct Watched(Arc<AtomicUsize>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn watched() -> (Box<Watched>, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    (Box::new(Watched(Arc::clone(&drops))), drops)
}

#[test]
fn every_value_has_a_name_of_its_own_in_every_block() {
    let registry = Registry::new();
    let names: Vec<usize> = (0..1000).map(|value| registry.insert(Box::new(value)).unwrap()).collect();
    let mut distinct = names.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 1000);
    for (value, name) in names.iter().enumerate() {
        assert_eq!(*registry.enter(*name).unwrap(), value);
    }
    for name in &names {
        registry.destroy(*name).unwrap();
        assert!(registry.enter(*name).is_err() && registry.destroy(*name).is_err());
    }
}

#[test]
fn slots_serve_again_under_other_names() {
    let registry = Registry::new();
    let mut earlier = Vec::new();
    for value in 0..10_000 {
        let name = registry.insert(Box::new(value)).unwrap();
        assert!(!earlier.contains(&name));
        if earlier.len() < 50 {
            earlier.push(name);
        }
        registry.destroy(name).unwrap();
        assert!(earlier.iter().all(|name| registry.enter(*name).is_err()));
    }
    assert_eq!(registry.used.load(Ordering::Relaxed), 1);
}

#[test]
fn a_slot_whose_names_are_used_up_is_left() {
    let registry = Registry::new();
    let first = registry.insert(Box::new(1)).unwrap();
    registry.destroy(first).unwrap();
    registry.slot(0).unwrap().state.store(LAST_GENERATION << GENERATION, Ordering::Relaxed);
    let last = registry.insert(Box::new(2)).unwrap();
    assert_eq!(*registry.enter(last).unwrap(), 2);
    registry.destroy(last).unwrap();
    assert!(registry.enter(last).is_err());
    assert_eq!(*registry.enter(registry.insert(Box::new(3)).unwrap()).unwrap(), 3);
    assert_eq!(registry.used.load(Ordering::Relaxed), 2);
}

#[test]
fn what_is_no_name_is_refused() {
    let registry = Registry::new();
    let name = registry.insert(Box::new(0)).unwrap();
    let on_stack = 0_u64;
    let (on_heap, function) = (Box::new(0_u64), what_is_no_name_is_refused as fn() as usize);
    let addresses = [&raw const on_stack as usize, &raw const *on_heap as usize, function, usize::MAX, 1, 8];
    for address in addresses {
        assert!(registry.enter(address).is_err(), "{address:#x}");
    }
    for bit in 0..usize::BITS {
        assert!(registry.enter(name ^ 1 << bit).is_err(), "bit {bit}");
    }
    assert!(registry.enter(name).is_ok());
}

/// As two copies of the library have them.
#[test]
fn registries_do_not_know_one_anothers_names() {
    let registries = [const { Registry::<usize>::new() }; 20];
    let names: Vec<usize> = registries.iter().map(|own| own.insert(Box::new(0)).unwrap()).collect();
    for (own, registry) in registries.iter().enumerate() {
        for (owner, name) in names.iter().enumerate() {
            assert_eq!(registry.enter(*name).is_ok(), own == owner);
        }
    }
}

#[test]
fn a_value_lives_until_the_last_who_is_inside_has_left() {
    let registry = Registry::new();
    let (value, drops) = watched();
    let name = registry.insert(value).unwrap();
    let (first, second) = (registry.enter(name).unwrap(), registry.enter(name).unwrap());
    registry.destroy(name).unwrap();
    assert!(registry.enter(name).is_err() && registry.destroy(name).is_err());
    drop(first);
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(second);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

/// Threads look up, destroy and replace the same names: each value is dropped once, by no
/// one while another is inside.
#[test]
fn races_end_every_value_once() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 20_000;
    let registry = Registry::<Watched>::new();
    let names: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
    let (made, ended) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (registry, names, made, ended) = (&registry, &names, &made, &ended);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let place = &names[(thread + round) % names.len()];
                    match registry.enter(place.load(Ordering::Relaxed) as usize) {
                        // A dropped value would have been overwritten by its allocator.
                        Ok(inside) => assert!(Arc::ptr_eq(&inside.0, ended)),
                        Err(_) => {
                            let new = registry.insert(Box::new(Watched(Arc::clone(ended)))).unwrap();
                            made.fetch_add(1, Ordering::Relaxed);
                            let old = place.swap(new as u64, Ordering::Relaxed);
                            let _ = registry.destroy(old as usize);
                        }
                    }
                    if round % 3 == thread % 3 {
                        let _ = registry.destroy(place.load(Ordering::Relaxed) as usize);
                    }
                }
            });
        }
    });
    names.iter().for_each(|place| drop(registry.destroy(place.load(Ordering::Relaxed) as usize)));
    assert!(made.load(Ordering::Relaxed) > ROUNDS / 10);
    assert_eq!(made.load(Ordering::Relaxed), ended.load(Ordering::Relaxed));
}

#[test]
fn a_registry_drops_what_lives_in_it() {
    let registry = Registry::new();
    let (kept, drops) = watched();
    let (destroyed, earlier_drops) = watched();
    registry.insert(kept).unwrap();
    registry.destroy(registry.insert(destroyed).unwrap()).unwrap();
    assert_eq!((drops.load(Ordering::Relaxed), earlier_drops.load(Ordering::Relaxed)), (0, 1));
    drop(registry);
    assert_eq!((drops.load(Ordering::Relaxed), earlier_drops.load(Ordering::Relaxed)), (1, 1));
}
