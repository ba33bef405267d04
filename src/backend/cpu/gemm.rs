//! The matrix products, on panels: C (+)= A B, one panel of B and C at a time.
//!
//! The register tile is `TILE_ROWS` rows by two vectors. An element of C is always the
//! sum over blocks of `DEPTH` of the sums over k in ascending order, wherever its tile
//! lies: so results do not depend on how rows or panels are shared among threads.

use super::panels::Panels;
use super::simd::{Multiply, Real, Vector};

/// Depth of a block: with a panel of B two vectors wide this is 32 KiB at most, which
/// stays in the first-level cache while the rows of A pass by. The width of a panel
/// divides it.
pub(crate) const DEPTH: usize = 256;

/// The left operand, a matrix in panels as wide as those of the right: as it is, k walking
/// along its rows, or one panel transposed, k walking down it. Either way the distances
/// between elements are constants of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Left<R> {
    data: *const R,
    transposed: bool,
    /// From one panel to the next.
    panel_step: usize,
}

impl<R: Copy> Left<R> {
    /// The matrix itself, from `row` on.
    ///
    /// # Safety
    /// `row` is inside the matrix.
    pub(crate) unsafe fn rows(matrix: &Panels<R>, row: usize) -> Left<R> {
        // SAFETY: the caller's promise.
        let data = unsafe { matrix.at(0, row) };
        Left { data, transposed: false, panel_step: matrix.rows * matrix.width }
    }

    /// One panel, transposed: its columns are the rows.
    ///
    /// # Safety
    /// `panel` is inside the matrix.
    pub(crate) unsafe fn transposed(matrix: &Panels<R>, panel: usize) -> Left<R> {
        // SAFETY: the caller's promise.
        let data = unsafe { matrix.at(panel, 0) };
        Left { data, transposed: true, panel_step: 0 }
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
    /// What the next product reads on its right, if that may lie far away: it is brought
    /// near meanwhile. Else NULL.
    pub(crate) next: *const R,
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
pub(crate) unsafe fn product<V: Vector, M: Multiply<V>>(p: &Product<V::Real>) {
    let (mut block, end) = (*p, p.first + p.depth);
    if p.depth == 0 && !p.accumulate {
        // SAFETY: `out` has `rows` rows of two vectors.
        unsafe { zero::<V>(p.out, p.rows) };
    }
    while block.first < end {
        block.depth = DEPTH.min(end - block.first);
        let next = block.first + block.depth;
        block.next = if next < end { p.right.wrapping_add(next * 2 * V::LANES) } else { p.next };
        // SAFETY: the caller's promise.
        unsafe {
            match p.left.transposed {
                true => tiles::<V, M, true>(&block),
                false => tiles::<V, M, false>(&block),
            }
        }
        block.first = next;
        block.accumulate = true;
    }
}

/// One block of k, tile by tile; each brings near its part of what is read next.
#[inline(always)]
unsafe fn tiles<V: Vector, M: Multiply<V>, const TRANSPOSED: bool>(p: &Product<V::Real>) {
    let width = 2 * V::LANES;
    let runs = p.depth.div_ceil(width);
    let lines = p.depth * width / line::<V::Real>();
    let lines = if p.next.is_null() { 0 } else { lines.div_ceil(runs * p.rows.div_ceil(V::TILE_ROWS)) };
    for (number, row) in (0..p.rows).step_by(V::TILE_ROWS).enumerate() {
        let far = p.next.wrapping_add(number * runs * lines * line::<V::Real>());
        let ahead = Ahead { far, lines };
        // SAFETY: the caller's promise, in every arm; a tile has at most TILE_ROWS rows.
        unsafe {
            match (p.rows - row).min(V::TILE_ROWS) {
                8 if V::TILE_ROWS >= 8 => tile::<V, M, TRANSPOSED, 8>(p, row, ahead),
                7 if V::TILE_ROWS >= 7 => tile::<V, M, TRANSPOSED, 7>(p, row, ahead),
                6 if V::TILE_ROWS >= 6 => tile::<V, M, TRANSPOSED, 6>(p, row, ahead),
                5 if V::TILE_ROWS >= 5 => tile::<V, M, TRANSPOSED, 5>(p, row, ahead),
                4 => tile::<V, M, TRANSPOSED, 4>(p, row, ahead),
                3 => tile::<V, M, TRANSPOSED, 3>(p, row, ahead),
                2 => tile::<V, M, TRANSPOSED, 2>(p, row, ahead),
                _ => tile::<V, M, TRANSPOSED, 1>(p, row, ahead),
            }
        }
    }
}

/// Elements of a cache line.
const fn line<R>() -> usize {
    64 / size_of::<R>()
}

/// What a tile brings near: so many lines with every panel's width of k.
#[derive(Clone, Copy)]
struct Ahead<R> {
    far: *const R,
    lines: usize,
}

#[inline(always)]
unsafe fn zero<V: Vector>(out: *mut V::Real, rows: usize) {
    for vector in 0..2 * rows {
        // SAFETY: the caller's promise.
        unsafe { V::splat(V::Real::ZERO).store(out.add(vector * V::LANES)) };
    }
}

/// `ROWS` rows by two vectors of C, summed in registers over one block of k. What C holds is
/// added last: it may lie in memory, and is here by then.
#[inline(always)]
unsafe fn tile<V: Vector, M: Multiply<V>, const TRANSPOSED: bool, const ROWS: usize>(
    p: &Product<V::Real>,
    row: usize,
    mut ahead: Ahead<V::Real>,
) {
    let width = 2 * V::LANES;
    let (row_step, k_step) = if TRANSPOSED { (1, width) } else { (width, 1) };
    // SAFETY: all addresses lie inside the operands by the caller's promise.
    unsafe {
        let out = p.out.add(row * width);
        if p.accumulate {
            (0..2 * ROWS).for_each(|vector| V::prefetch(out.add(vector * V::LANES)));
        }
        let mut sum = [[V::splat(V::Real::ZERO); 2]; ROWS];
        // A block begins where a panel does, or lies inside the only one.
        let start = if TRANSPOSED { p.first * width } else { p.first / width * p.left.panel_step };
        let mut left = p.left.data.add(row * row_step + start);
        let mut right = p.right.add(p.first * width);
        let mut remaining = p.depth;
        while remaining > 0 {
            let steps = width.min(remaining);
            for _ in 0..ahead.lines {
                V::prefetch_far(ahead.far);
                ahead.far = ahead.far.wrapping_add(line::<V::Real>());
            }
            for k in 0..steps {
                let b = [V::load(right), V::load(right.add(V::LANES))];
                for (i, sum) in sum.iter_mut().enumerate() {
                    let a = V::splat(*left.add(k * k_step + i * row_step));
                    *sum = [M::add_product(a, b[0], sum[0]), M::add_product(a, b[1], sum[1])];
                }
                right = right.add(width);
            }
            left = left.wrapping_add(if TRANSPOSED { width * width } else { p.left.panel_step });
            remaining -= steps;
        }
        for (i, sum) in sum.iter().enumerate() {
            for (half, &sum) in sum.iter().enumerate() {
                let at = out.add(i * width + half * V::LANES);
                if p.accumulate { sum.add(V::load(at)) } else { sum }.store(at);
            }
        }
    }
}
