//! The matrix products, on panels: C (+)= A B, one panel of B and C at a time.
//!
//! The register tile is `TILE_ROWS` rows by two vectors. An element of C is always the
//! sum over k in ascending order, blocks of `DEPTH` apart, wherever its tile lies: so
//! results do not depend on how rows or panels are shared among threads.

use super::panels::Panels;
use super::simd::{Real, Vector};

/// Depth of a block: with a panel of B two vectors wide this is 32 KiB at most, which
/// stays in the first-level cache while the rows of A pass by. The width of a panel
/// divides it.
pub(crate) const DEPTH: usize = 256;

/// The left operand: where element (row, k) is.
#[derive(Clone, Copy)]
pub(crate) struct Left<R> {
    data: *const R,
    row_step: usize,
    k_step: usize,
    /// Elements of k that lie `k_step` apart; behind them comes the next run.
    run: usize,
    run_step: usize,
}

impl<R: Copy> Left<R> {
    /// The matrix itself, from `row` on: k walks along its columns.
    ///
    /// # Safety
    /// `row` is inside the matrix.
    pub(crate) unsafe fn rows(matrix: &Panels<R>, row: usize) -> Left<R> {
        Left {
            // SAFETY: the caller's promise.
            data: unsafe { matrix.at(0, row) },
            row_step: matrix.width,
            k_step: 1,
            run: matrix.width,
            run_step: matrix.rows * matrix.width,
        }
    }

    /// One panel, transposed: its columns are the rows, and k walks down its rows.
    ///
    /// # Safety
    /// `panel` is inside the matrix.
    pub(crate) unsafe fn transposed(matrix: &Panels<R>, panel: usize) -> Left<R> {
        // SAFETY: the caller's promise.
        let data = unsafe { matrix.at(panel, 0) };
        Left { data, row_step: 1, k_step: matrix.width, run: usize::MAX, run_step: 0 }
    }
}

/// One product: `rows` x two vectors of C, over `depth` of k.
#[derive(Clone, Copy)]
pub(crate) struct Product<R> {
    pub(crate) rows: usize,
    /// Where the range of k begins: a multiple of DEPTH.
    pub(crate) first: usize,
    pub(crate) depth: usize,
    pub(crate) left: Left<R>,
    /// A panel, from its row 0.
    pub(crate) right: *const R,
    /// A panel, from the first of `rows`.
    pub(crate) out: *mut R,
    /// Whether to add to what C holds.
    pub(crate) accumulate: bool,
}

/// Computes a product, all its depth.
///
/// # Safety
/// The operands reach as far as the sizes say, and the machine has `V`'s instructions.
#[inline(always)]
pub(crate) unsafe fn product<V: Vector>(p: &Product<V::Real>) {
    let (mut block, end) = (*p, p.first + p.depth);
    if p.depth == 0 && !p.accumulate {
        // SAFETY: `out` has `rows` rows of two vectors.
        unsafe { zero::<V>(p.out, p.rows) };
    }
    while block.first < end {
        block.depth = DEPTH.min(end - block.first);
        let mut row = 0;
        while row < p.rows {
            let rows = (p.rows - row).min(V::TILE_ROWS);
            // SAFETY: the caller's promise.
            unsafe { tile_of::<V>(&block, row, rows) };
            row += rows;
        }
        block.first += block.depth;
        block.accumulate = true;
    }
}

#[inline(always)]
unsafe fn zero<V: Vector>(out: *mut V::Real, rows: usize) {
    for vector in 0..2 * rows {
        // SAFETY: the caller's promise.
        unsafe { V::splat(V::Real::ZERO).store(out.add(vector * V::LANES)) };
    }
}

#[inline(always)]
unsafe fn tile_of<V: Vector>(p: &Product<V::Real>, row: usize, rows: usize) {
    // SAFETY: the caller's promise, in every arm; a tile has at most TILE_ROWS rows.
    unsafe {
        match rows {
            8 if V::TILE_ROWS >= 8 => tile::<V, 8>(p, row),
            7 if V::TILE_ROWS >= 7 => tile::<V, 7>(p, row),
            6 if V::TILE_ROWS >= 6 => tile::<V, 6>(p, row),
            5 if V::TILE_ROWS >= 5 => tile::<V, 5>(p, row),
            4 => tile::<V, 4>(p, row),
            3 => tile::<V, 3>(p, row),
            2 => tile::<V, 2>(p, row),
            _ => tile::<V, 1>(p, row),
        }
    }
}

/// `M` rows by two vectors of C, held in registers over one block of k.
#[inline(always)]
unsafe fn tile<V: Vector, const M: usize>(p: &Product<V::Real>, row: usize) {
    let width = 2 * V::LANES;
    // SAFETY: all addresses lie inside the operands by the caller's promise.
    unsafe {
        let out = p.out.add(row * width);
        if p.accumulate {
            // The tile after this one, whose sums may lie in memory: by the time this
            // one is done, they are here.
            (0..M).for_each(|i| {
                V::prefetch(out.wrapping_add((M + i) * width));
                V::prefetch(out.wrapping_add((M + i) * width + V::LANES));
            });
        }
        let zero = V::splat(V::Real::ZERO);
        let mut sum = [[zero; 2]; M];
        if p.accumulate {
            for (i, sum) in sum.iter_mut().enumerate() {
                *sum = [V::load(out.add(i * width)), V::load(out.add(i * width + V::LANES))];
            }
        }
        let Left { row_step, k_step, run, run_step, .. } = p.left;
        // A block begins where a run does, or lies inside the only one.
        let mut left = p.left.data.add(row * row_step + p.first / run * run_step + p.first % run * k_step);
        let mut right = p.right.add(p.first * width);
        let mut remaining = p.depth;
        while remaining > 0 {
            let steps = run.min(remaining);
            let mut a = left;
            for _ in 0..steps {
                let b = [V::load(right), V::load(right.add(V::LANES))];
                for (i, sum) in sum.iter_mut().enumerate() {
                    let a = V::splat(*a.add(i * row_step));
                    *sum = [a.fma(b[0], sum[0]), a.fma(b[1], sum[1])];
                }
                a = a.add(k_step);
                right = right.add(width);
            }
            left = left.wrapping_add(run_step);
            remaining -= steps;
        }
        for (i, sum) in sum.iter().enumerate() {
            sum[0].store(out.add(i * width));
            sum[1].store(out.add(i * width + V::LANES));
        }
    }
}
