//! Matrices in panels: `width` columns side by side, row after row, panel after panel.
//! Every matrix that a GEMM of this engine reads or writes is laid out so; a panel's
//! rows are whole vectors, and walking down a panel is walking through memory.

/// Rows x cols numbers in panels of `width` columns, the last panel padded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<R> {
    pub(crate) data: *mut R,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) width: usize,
}

// SAFETY: an address with a shape; the tasks of a job write disjoint parts.
unsafe impl<R> Send for Panels<R> {}
// SAFETY: as above.
unsafe impl<R> Sync for Panels<R> {}

impl<R: Copy> Panels<R> {
    /// Numbers that a matrix of this shape takes, padding included.
    pub(crate) fn size(rows: usize, cols: usize, width: usize) -> usize {
        rows * cols.next_multiple_of(width)
    }

    /// Panels.
    pub(crate) fn count(&self) -> usize {
        self.cols.div_ceil(self.width)
    }

    /// Address of a row of a panel.
    ///
    /// # Safety
    /// Both are inside the matrix, and its memory exists; so for all methods here.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, panel: usize, row: usize) -> *mut R {
        // SAFETY: the caller's promise.
        unsafe { self.data.add((panel * self.rows + row) * self.width) }
    }

    /// Address of the same row in the next panel, or NULL behind the last.
    pub(crate) fn after(&self, panel: usize, row: usize) -> *const R {
        match panel + 1 < self.count() {
            // SAFETY: inside the matrix.
            true => unsafe { self.at(panel + 1, row) },
            false => std::ptr::null(),
        }
    }

    /// Writes one row of the matrix.
    #[inline(always)]
    pub(crate) unsafe fn set_row(&self, row: usize, values: &[R], padding: R) {
        for (panel, piece) in values.chunks(self.width).enumerate() {
            // SAFETY: the caller's promise; a piece is at most one panel wide.
            unsafe {
                let to = self.at(panel, row);
                copy(piece.as_ptr(), to, piece.len());
                (piece.len()..self.width).for_each(|column| to.add(column).write(padding));
            }
        }
    }

    /// Reads one row of the matrix.
    #[inline(always)]
    pub(crate) unsafe fn get_row(&self, row: usize, values: &mut [R]) {
        for (panel, piece) in values.chunks_mut(self.width).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { copy(self.at(panel, row), piece.as_mut_ptr(), piece.len()) };
        }
    }
}

/// Copies a few numbers in vectors: a call of memcpy would cost more than a panel's row.
#[inline(always)]
unsafe fn copy<R: Copy>(from: *const R, to: *mut R, count: usize) {
    const BLOCK: usize = 8;
    let whole = count / BLOCK * BLOCK;
    // SAFETY: the caller's promise.
    unsafe {
        for start in (0..whole).step_by(BLOCK) {
            to.add(start).cast::<[R; BLOCK]>().write(from.add(start).cast::<[R; BLOCK]>().read());
        }
        (whole..count).for_each(|place| to.add(place).write(from.add(place).read()));
    }
}
