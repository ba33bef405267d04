//! Where everything lies that a call keeps in the caller's workspace. The code that lays
//! it out also measures it. Sizes depend on the plan alone and do not grow when rows
//! become fewer.

use super::arguments::{Address, Control, MERGE_PIECE, Ranks, RowTotals, rank_blocks};
use super::catalogue::Attend;
use super::plan::{Plan, Route};

/// Threads of a block of finish_rows, of which a row has 32 at most.
const FINISH_BLOCK: usize = 256;

/// What allocations and the widest copies are aligned to.
const ALIGNMENT: usize = 256;

/// Cuts device memory into aligned buffers, or only measures.
struct Arena {
    base: Address,
    used: usize,
}

impl Arena {
    fn take(&mut self, count: usize, size: usize) -> Address {
        let start = self.base + self.used as u64;
        self.used += (count * size).next_multiple_of(ALIGNMENT);
        start
    }

    fn floats(&mut self, count: usize) -> Address {
        self.take(count, size_of::<f32>())
    }

    fn words(&mut self, count: usize) -> Address {
        self.take(count, size_of::<u32>())
    }

    fn doubles(&mut self, count: usize) -> Address {
        self.take(count, size_of::<f64>())
    }

    /// Lays out several sets of buffers in the same place, which are never in use together.
    fn overlay<A, B>(
        &mut self,
        first: impl FnOnce(&mut Arena) -> A,
        second: impl FnOnce(&mut Arena) -> B,
    ) -> (A, B) {
        let start = self.used;
        let first = first(self);
        let end = std::mem::replace(&mut self.used, start);
        let second = second(self);
        self.used = self.used.max(end);
        (first, second)
    }
}

/// Buffers of every call. N, S, T, d as everywhere; names as in `kernels/arguments.cuh`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workspace {
    pub(super) control: Address,
    pub(super) keys: Address,
    pub(super) columns: [Address; 2],
    pub(super) col_add: Address,
    /// The inputs as operands, where the caller's are none.
    pub(super) inputs: [Address; 2],
    pub(super) state: Address,
    pub(super) true_logits: Address,
    pub(super) hits: Address,
    pub(super) partial: Address,
    pub(super) totals: Address,
    pub(super) gradients: Option<Gradients>,
}

/// Buffers of a call that computes gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gradients {
    pub(super) row_add: Address,
    pub(super) coefficient: Address,
    pub(super) part_factor: Address,
    pub(super) d_true: Address,
    pub(super) label_keys: Address,
    pub(super) class_list: Address,
    pub(super) class_begin: Address,
    pub(super) class_end: Address,
    pub(super) heads: Ranks,
    pub(super) news: Ranks,
    pub(super) pieces: Address,
    /// What is summed to d_inputs, `[splits, N, padded d]` or one chunk of it.
    pub(super) row_parts: Address,
    /// To d_weights, `[splits, S, padded d]`.
    pub(super) class_parts: Address,
    /// To d_biases, `[splits, S]`.
    pub(super) class_sums: Address,
    pub(super) chunk: Chunk,
}

/// Buffers of one chunk of rows; none where probabilities are not stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub(super) probabilities: [Address; 2],
    /// `[row tiles, S]`.
    pub(super) col_sums: Address,
    /// Of the rows, one byte each.
    pub(super) redo: Address,
    pub(super) library: Address,
}

impl Workspace {
    /// Bytes to ask of the caller, with room to align the first buffer.
    pub(super) fn measure(plan: &Plan, gradients: bool) -> usize {
        let mut arena = Arena { base: 0, used: 0 };
        Workspace::take(plan, gradients, &mut arena);
        arena.used + ALIGNMENT
    }

    /// Over the caller's memory, whatever its alignment.
    pub(super) fn lay_out(plan: &Plan, gradients: bool, memory: Address) -> Workspace {
        let base = memory.next_multiple_of(ALIGNMENT as u64);
        Workspace::take(plan, gradients, &mut Arena { base, used: 0 })
    }

    fn take(plan: &Plan, gradients: bool, arena: &mut Arena) -> Workspace {
        let (rows, sampled, labels) = (plan.shape.rows, plan.shape.sampled, plan.labels());
        let mut partials = plan.most_row_parts(plan.family.lse);
        if let (true, Route::Attend(attend)) = (gradients, plan.route) {
            partials = partials.max(plan.most_row_parts(attend.online));
        }
        Workspace {
            control: arena.take(1, size_of::<Control>()),
            keys: arena.take(sampled.next_power_of_two(), size_of::<u64>()),
            columns: operand(plan, sampled, arena),
            col_add: arena.floats(sampled),
            inputs: operand(plan, rows, arena),
            state: arena.take(rows, 1),
            true_logits: arena.doubles(labels),
            hits: arena.words(labels),
            partial: arena.floats(2 * partials),
            totals: arena.take((32 * rows).div_ceil(FINISH_BLOCK).max(1), size_of::<RowTotals>()),
            gradients: gradients.then(|| Gradients::take(plan, arena)),
        }
    }
}

impl Gradients {
    fn take(plan: &Plan, arena: &mut Arena) -> Gradients {
        let (rows, sampled, labels) = (plan.shape.rows, plan.shape.sampled, plan.labels());
        let mut buffers = Gradients {
            row_add: arena.floats(rows),
            coefficient: arena.floats(rows),
            part_factor: 0,
            d_true: arena.floats(labels),
            label_keys: arena.take(labels.next_power_of_two(), size_of::<u64>()),
            class_list: arena.words(labels),
            class_begin: arena.words(sampled),
            class_end: arena.words(sampled),
            heads: ranks(sampled, arena),
            news: ranks(labels, arena),
            pieces: arena.floats(labels / MERGE_PIECE * plan.padded_dim),
            row_parts: 0,
            class_parts: 0,
            class_sums: 0,
            chunk: Chunk::default(),
        };
        match plan.route {
            Route::Attend(Attend { online, known }) => {
                let row_parts = plan.most_row_parts(online).max(plan.most_row_parts(known));
                let class_parts = plan.most_class_parts(known) * sampled;
                buffers.part_factor = arena.floats(plan.most_row_parts(online));
                // d_inputs is done with before the candidates attend to the rows.
                let (row_parts, (class_parts, class_sums)) = arena.overlay(
                    |arena| arena.floats(row_parts * plan.padded_dim),
                    |arena| (arena.floats(class_parts * plan.padded_dim), arena.floats(class_parts)),
                );
                (buffers.row_parts, buffers.class_parts, buffers.class_sums) =
                    (row_parts, class_parts, class_sums);
            }
            Route::Chunks { rows: chunk } => {
                buffers.row_parts = arena.floats(chunk * plan.padded_dim);
                buffers.class_parts = arena.floats(sampled * plan.padded_dim);
                buffers.class_sums = arena.floats(sampled);
                let elements = chunk * plan.probability_stride();
                buffers.chunk = Chunk {
                    probabilities: planes(plan, elements, arena),
                    col_sums: arena.floats(chunk.div_ceil(plan.family.probabilities.rows) * sampled),
                    redo: arena.take(chunk, 1),
                    library: arena
                        .take(if plan.uses_library() { plan.machine.library_workspace } else { 0 }, 1),
                };
            }
        }
        buffers
    }
}

fn operand(plan: &Plan, rows: usize, arena: &mut Arena) -> [Address; 2] {
    planes(plan, rows * plan.padded_dim, arena)
}

fn ranks(count: usize, arena: &mut Arena) -> Ranks {
    Ranks { within: arena.words(count + 1), before: arena.words(rank_blocks(count)) }
}

/// One buffer of `elements` for each plane of an operand.
fn planes(plan: &Plan, elements: usize, arena: &mut Arena) -> [Address; 2] {
    let size = plan.arithmetic.dtype().size();
    let high = arena.take(elements, size);
    let low = if plan.arithmetic.planes() == 2 { arena.take(elements, size) } else { 0 };
    [high, low]
}
