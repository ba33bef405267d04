//! How often each function was called on each engine, and what it answered.

use std::collections::BTreeMap;
use std::fmt;

use sampled_softmax::abi::*;

/// Calls by engine, function and status.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<(String, String, ssl_status), u64>);

impl Counts {
    pub fn add(&mut self, backend: u32, function: &str, status: ssl_status) {
        let engine = if backend == SSL_BACKEND_CUDA { "cuda" } else { "cpu" };
        match self.0.iter_mut().find(|((e, f, s), _)| e == engine && f == function && *s == status) {
            Some((_, count)) => *count += 1,
            None => drop(self.0.insert((engine.into(), function.into(), status), 1)),
        }
    }

    pub fn merge(&mut self, others: &Counts) {
        for (key, count) in &others.0 {
            *self.0.entry(key.clone()).or_default() += count;
        }
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// How often a status was the answer on an engine.
    pub fn of_status(&self, engine: &str, status: ssl_status) -> u64 {
        self.0.iter().filter(|((e, _, s), _)| e == engine && *s == status).map(|(_, count)| count).sum()
    }

    /// What `Display` wrote, among other lines.
    pub fn parse(text: &str) -> Counts {
        let mut counts = Counts::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [engine @ ("cpu" | "cuda"), function, status, count] = fields[..] {
                let key = (engine.into(), function.into(), status.parse().unwrap());
                *counts.0.entry(key).or_default() += count.parse::<u64>().unwrap();
            }
        }
        counts
    }
}

/// One line for each engine, function and status.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((engine, function, status), count) in &self.0 {
            writeln!(f, "{engine:4} {function:22} {status:4} {count:10}")?;
        }
        Ok(())
    }
}
