//! The committed C header is the one that build.rs generates from the sources.

#[test]
fn committed_header_is_up_to_date() {
    let generated = include_str!(concat!(env!("OUT_DIR"), "/sampled_softmax.h"));
    let committed = include_str!("../include/sampled_softmax.h");

    let difference = generated.lines().zip(committed.lines()).position(|(new, old)| new != old);
    let line = difference.unwrap_or_else(|| generated.lines().count().min(committed.lines().count()));
    assert!(
        generated == committed,
        "include/sampled_softmax.h is stale from line {} on: run `make header`\n  generated: {}\n  committed: {}",
        line + 1,
        generated.lines().nth(line).unwrap_or("<end>"),
        committed.lines().nth(line).unwrap_or("<end>"),
    );
}
