//! A borrowed array of labels, int32 or int64, read as int64.

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
