//! Arrays of labels, int32 or int64: where they are, and as a host slice read as int64.

/// Labels where the caller has them, in host or device memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelArray {
    pub(crate) data: *const u8,
    /// int64 rather than int32.
    pub(crate) wide: bool,
    pub(crate) count: usize,
}

// SAFETY: an address; who reads through it is decided by the engine.
unsafe impl Send for LabelArray {}
// SAFETY: as above.
unsafe impl Sync for LabelArray {}

impl LabelArray {
    /// No labels.
    pub(crate) const NONE: LabelArray = LabelArray { data: std::ptr::null(), wide: true, count: 0 };

    /// Bytes of one label, which is its alignment too.
    pub(crate) fn size(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// The labels, in host memory.
    ///
    /// # Safety
    /// `data` leads to `count` aligned labels that nobody writes while the view lives.
    pub(crate) unsafe fn view<'a>(&self) -> Labels<'a> {
        // SAFETY: the caller's promise; NULL only where there is none.
        unsafe {
            match (self.count, self.wide) {
                (0, _) => Labels::I64(&[]),
                (count, true) => Labels::I64(std::slice::from_raw_parts(self.data.cast(), count)),
                (count, false) => Labels::I32(std::slice::from_raw_parts(self.data.cast(), count)),
            }
        }
    }
}

/// Labels as the caller holds them.
#[derive(Clone, Copy, Debug)]
pub enum Labels<'a> {
    /// `int32_t`.
    I32(&'a [i32]),
    /// `int64_t`.
    I64(&'a [i64]),
}

impl Labels<'_> {
    /// Number of labels.
    pub fn len(&self) -> usize {
        match self {
            Labels::I32(labels) => labels.len(),
            Labels::I64(labels) => labels.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label at `index`.
    #[inline]
    pub fn get(&self, index: usize) -> i64 {
        match self {
            Labels::I32(labels) => i64::from(labels[index]),
            Labels::I64(labels) => labels[index],
        }
    }

    /// All labels in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }
}
