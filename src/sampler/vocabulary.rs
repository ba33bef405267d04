//! The weights of a fixed unigram distribution, from memory or a vocabulary file.
//!
//! As TensorFlow reads them (`FixedUnigramSampler` in
//! tensorflow/core/kernels/range_sampler.cc): reserved ids come first, with weight 0; of
//! ids i from 0, shard s of n keeps those with i mod n = s; empty lines are no class; a
//! weight is what follows a line's last comma, and lines of other shards are not read
//! for theirs. One difference: TensorFlow numbers a shard's weights from the number of
//! reserved ids that this shard kept instead of all, which with both reserved ids and
//! shards gives some classes to two shards and others to none. Here every class belongs
//! to one shard.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;

use super::config::{Unigram, UnigramWeights};
use crate::allocation::{check_room_of, push, reserve_exact};
use crate::error::{Error, Result};
use crate::math;

/// A line beyond this is no vocabulary.
const LONGEST_LINE: usize = 1 << 20;

/// Bytes read from a file at once.
const BUFFER: usize = 1 << 18;

/// weight^distortion of the `num_classes` classes of a shard, reserved ids included.
///
/// # Errors
/// `InvalidValue` for a field, a weight in memory or a number of classes that is wrong;
/// `File` for a file that cannot be read or a line that has no weight; `HostMemory`.
pub(super) fn weights(unigram: &Unigram, num_classes: i64) -> Result<Vec<f64>> {
    let mut shard = Shard::new(unigram, num_classes)?;
    match &unigram.weights {
        UnigramWeights::Memory(weights) => {
            // All are checked, whichever shard they belong to.
            for (index, weight) in weights.iter().enumerate() {
                check_weight(*weight).map_err(|fault| invalid(&in_memory(index, &fault)))?;
            }
            for (index, weight) in weights.iter().enumerate() {
                shard.add(|| Ok(*weight), |fault| invalid(&in_memory(index, &fault)))?;
            }
        }
        UnigramWeights::File(path) => read_file(path, &mut shard)?,
    }
    shard.finish(unigram)
}

fn invalid(text: &str) -> Error {
    Error::InvalidValue(text.into())
}

fn in_memory(index: usize, fault: &str) -> String {
    format!("unigrams[{index}] {fault}")
}

/// What is wrong with a weight, in words that follow its name.
fn check_weight(weight: f64) -> std::result::Result<(), String> {
    if !weight.is_finite() {
        Err(format!("= {weight} is not finite"))
    } else if weight < 0.0 {
        Err(format!("= {weight} is negative"))
    } else {
        Ok(())
    }
}

/// The classes of one shard as they are read.
struct Shard {
    num_shards: u64,
    shard: u64,
    distortion: f64,
    num_classes: i64,
    next_id: u64,
    num_kept: u64,
    kept: Vec<f64>,
}

impl Shard {
    /// With the reserved ids in it.
    fn new(unigram: &Unigram, num_classes: i64) -> Result<Shard> {
        let Unigram { distortion, num_reserved_ids, .. } = *unigram;
        let (num_shards, shard) = (u64::from(unigram.num_shards.max(1)), u64::from(unigram.shard));
        if !distortion.is_finite() {
            return Err(invalid(&format!("distortion = {distortion} is not finite")));
        }
        if shard >= num_shards {
            return Err(invalid(&format!("shard = {shard} is outside [0, {num_shards})")));
        }
        let Ok(reserved) = u64::try_from(num_reserved_ids) else {
            return Err(invalid(&format!("num_reserved_ids = {num_reserved_ids} is negative")));
        };
        let num_kept = reserved.saturating_sub(shard).div_ceil(num_shards);
        let mut kept = Vec::new();
        // More than fit are an error in the end, and need no memory until then.
        if num_kept <= num_classes as u64 {
            reserve_exact(&mut kept, num_kept as usize, PURPOSE)?;
            kept.resize(num_kept as usize, 0.0);
        }
        Ok(Shard { num_shards, shard, distortion, num_classes, next_id: reserved, num_kept, kept })
    }

    /// Takes the next class, whose weight is read only if it belongs to this shard.
    fn add(&mut self, weight: impl FnOnce() -> Result<f64>, error: impl Fn(String) -> Error) -> Result<()> {
        let is_kept = self.next_id % self.num_shards == self.shard;
        self.next_id += 1;
        if !is_kept {
            return Ok(());
        }
        let weight = weight()?;
        check_weight(weight).map_err(&error)?;
        // x^1 is x, to the last bit.
        let power = if self.distortion == 1.0 { weight } else { math::pow(weight, self.distortion) };
        if !power.is_finite() {
            let distortion = self.distortion;
            return Err(error(format!("= {weight} to the power {distortion} is not finite")));
        }
        self.num_kept += 1;
        if self.num_kept <= self.num_classes as u64 {
            push(&mut self.kept, power, PURPOSE)?;
        }
        Ok(())
    }

    fn finish(self, unigram: &Unigram) -> Result<Vec<f64>> {
        let source = match &unigram.weights {
            UnigramWeights::Memory(_) => "unigrams".into(),
            UnigramWeights::File(path) => format!("vocab_file {path}"),
        };
        if self.num_kept != self.num_classes as u64 {
            return Err(invalid(&format!(
                "num_classes = {}, but shard {} of {} of {source} has {} classes, of {} with \
                 num_reserved_ids = {}",
                self.num_classes,
                self.shard,
                self.num_shards,
                self.num_kept,
                self.next_id,
                unigram.num_reserved_ids
            )));
        }
        if !self.kept.iter().any(|weight| *weight > 0.0) {
            return Err(invalid(&format!("{source}: the weights of all {} classes are 0", self.num_classes)));
        }
        Ok(self.kept)
    }
}

const PURPOSE: &str = "the sampler's weights";

fn read_file(path: &str, shard: &mut Shard) -> Result<()> {
    check_room_of(2 * (LONGEST_LINE + BUFFER), "reading the vocabulary file")?;
    let fault = |reason: String| Error::File { path: path.into(), reason };
    let (file, bytes) = open(path).map_err(|error| fault(error.to_string()))?;
    // What is appended meanwhile would perhaps have no end.
    let mut reader = BufReader::with_capacity(BUFFER, file.take(bytes));
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST_LINE as u64 + 1)
            .read_until(b'\n', &mut line)
            .map_err(|error| fault(error.to_string()))?;
        if read == 0 {
            break;
        }
        if read > LONGEST_LINE {
            return Err(fault(format!("line {number} is longer than {LONGEST_LINE} bytes")));
        }
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        if !line.is_empty() {
            shard.add(
                || weight_of(&line).ok_or_else(|| fault(no_weight(number, &line))),
                |what| fault(format!("line {number}: weight {what}")),
            )?;
        }
    }
    Ok(())
}

/// A plain file and its length. Pipes, terminals and other devices are not waited for.
fn open(path: &str) -> io::Result<(File, u64)> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// The number behind a line's last comma, if it is one.
fn weight_of(line: &[u8]) -> Option<f64> {
    let field = line.rsplit(|byte| *byte == b',').next()?;
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

fn no_weight(number: u64, line: &[u8]) -> String {
    const SHOWN: usize = 60;
    let text = line[..line.len().min(SHOWN)].escape_ascii();
    let dots = if line.len() > SHOWN { "..." } else { "" };
    format!("line {number}: no weight behind the last comma of \"{text}{dots}\"")
}
