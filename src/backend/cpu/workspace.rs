//! How a call uses the caller's workspace: every buffer of the engine, laid out once.

use super::kernels::{Kernels, RowScale};
use super::pairs::{Paired, steps};
use super::panels::Panels;
use super::simd::Real;
use crate::args::Shape;
use crate::memory::Arena;

/// Bytes of logits that one chunk of rows may take: enough rows that reading the sampled
/// weights costs little beside multiplying by them.
const CHUNK_BYTES: usize = 4 << 20;
/// Rows of a chunk, at least and at most (where there are as many).
const CHUNK_ROWS: (usize, usize) = (64, 512);

/// Panels whose log-sum-exp is taken together, by one task. Fixed, because how a sum is
/// grouped shows in its last bit.
pub(crate) const GROUP: usize = 16;
// Two panels of logits become one of pairs, in one task.
const _: () = assert!(GROUP.is_multiple_of(2));

/// An accidental hit: candidates `first..last`, in ascending order of id, are left out
/// of a row of the chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) row: usize,
}

/// One row of the parameters that has a gradient: where its parts are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    /// Range of the sorted candidates.
    pub(crate) candidates: (usize, usize),
    /// Range of the sorted labels.
    pub(crate) labels: (usize, usize),
}

/// The buffers of one call. Those for gradients are empty in a plain forward.
pub(crate) struct Buffers<R> {
    pub(crate) paired: Paired,
    /// Rows of a chunk, at most.
    pub(crate) chunk: usize,
    /// Rows that take part. [N]
    pub(crate) active: *mut usize,
    /// Unweighted losses. [N]
    pub(crate) row_loss: *mut f64,
    /// Candidate numbers in ascending order of id. [S]
    pub(crate) order: *mut usize,
    /// Ids in that order. [S]
    pub(crate) ids: *mut i64,
    /// bias - ln Q in that order, -inf behind. [S padded]
    pub(crate) offsets: *mut R,
    /// The sampled weights, transposed, for the logits. d x S, or half of d in pairs
    pub(crate) weights_t: Panels<R>,
    /// The inputs of a chunk, for the logits. chunk x d, or half of d in pairs
    pub(crate) inputs: Panels<R>,
    /// True logits of a chunk. [chunk, T]
    pub(crate) true_logits: *mut f64,
    /// [chunk * T]
    pub(crate) hits: *mut Hit,
    /// Reference and sum of each row in each group of panels. [groups, chunk]
    pub(crate) partial: *mut (R, R),
    /// [chunk]
    pub(crate) scales: *mut RowScale<R>,
    /// Running states, a row each; then a panel of gradients in pairs.
    /// [threads, chunk, width]
    pub(crate) states: *mut R,
    /// Two rows of d numbers for each thread. [threads, 2, d]
    pub(crate) rows: *mut R,
    /// Logits of a chunk, then their gradients, in the end in pairs (`pairs::along`) if
    /// d_inputs takes those; in a plain forward one panel a thread. chunk x S
    pub(crate) logits: Panels<R>,
    pub(crate) gradients: Option<GradientBuffers<R>>,
}

pub(crate) struct GradientBuffers<R> {
    /// The inputs of a chunk, for d_weights: those for the logits, or if either takes
    /// pairs a matrix of its own. chunk x d, or half of the rows in pairs
    pub(crate) inputs: Panels<R>,
    /// The sampled weights, for d_inputs. S x d, or half of the rows in pairs
    pub(crate) weights: Panels<R>,
    /// chunk x d
    pub(crate) d_inputs: Panels<R>,
    /// S x d
    pub(crate) d_weights: Panels<R>,
    /// [S padded]
    pub(crate) d_biases: *mut R,
    /// Gradients of the true logits. [N, T]
    pub(crate) d_true: *mut R,
    /// Labels and their place, ascending. [N * T]
    pub(crate) labels: *mut (i64, usize),
    /// [min(C, S + N * T)]
    pub(crate) entries: *mut Entry,
}

// SAFETY: addresses; the tasks of a job write disjoint parts of what they lead to.
unsafe impl<R> Sync for Buffers<R> {}
// SAFETY: as above.
unsafe impl<R> Sync for GradientBuffers<R> {}

impl<R: Real> Buffers<R> {
    /// Lays the buffers out, or measures them.
    pub(crate) fn lay_out(
        shape: &Shape,
        kernels: &Kernels<R>,
        threads: usize,
        gradients: bool,
        paired: Paired,
        arena: &mut Arena,
    ) -> Buffers<R> {
        let Shape { rows, dim, sampled, num_true, classes, .. } = *shape;
        let width = kernels.width;
        let sampled_padded = sampled.next_multiple_of(width);
        let chunk =
            (CHUNK_BYTES / (sampled_padded * size_of::<R>())).clamp(CHUNK_ROWS.0, CHUNK_ROWS.1).min(rows);
        let groups = sampled_padded.div_ceil(width * GROUP);
        let panels = |arena: &mut Arena, rows, cols| {
            let data = arena.take(Panels::<R>::size(rows, cols, width));
            Panels { data, rows, cols, width }
        };
        let inputs = panels(arena, chunk, steps(paired.logits, dim));
        let logits_cols = if gradients { sampled } else { threads * width };
        let gradients = gradients.then(|| GradientBuffers {
            inputs: match paired.logits {
                true => panels(arena, steps(paired.d_weights, chunk), dim),
                false => inputs,
            },
            weights: panels(arena, steps(paired.d_inputs, sampled), dim),
            d_inputs: panels(arena, chunk, dim),
            d_weights: panels(arena, sampled, dim),
            d_biases: arena.take(sampled_padded),
            d_true: arena.take(rows * num_true),
            labels: arena.take(rows * num_true),
            entries: arena.take((sampled + rows * num_true).min(classes)),
        });
        Buffers {
            paired,
            chunk,
            active: arena.take(rows),
            row_loss: arena.take(rows),
            order: arena.take(sampled),
            ids: arena.take(sampled),
            offsets: arena.take(sampled_padded),
            weights_t: panels(arena, steps(paired.logits, dim), sampled),
            inputs,
            true_logits: arena.take(chunk * num_true),
            hits: arena.take(chunk * num_true),
            partial: arena.take(groups * chunk),
            scales: arena.take(chunk),
            states: arena.take(threads * chunk * width),
            rows: arena.take(threads * 2 * dim),
            logits: panels(arena, chunk, logits_cols),
            gradients,
        }
    }
}
