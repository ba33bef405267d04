//! Views of the caller's memory: tensors with a dtype and a row stride, the regions
//! they cover, and the arena that cuts a workspace into buffers.

use crate::error::{Error, Result};

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
    F64,
}

impl Dtype {
    /// Bytes of one element, which is its alignment too.
    pub(crate) fn size(self) -> usize {
        match self {
            Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }
}

/// Rows of elements somewhere in the caller's memory; a vector has one element a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor {
    pub(crate) data: *mut u8,
    pub(crate) dtype: Dtype,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
}

// SAFETY: a tensor is an address with a shape; who writes through it is decided by the
// engine, which gives every row to one thread.
unsafe impl Send for Tensor {}
// SAFETY: as above.
unsafe impl Sync for Tensor {}

impl Tensor {
    /// Address of a row's first element.
    ///
    /// # Safety
    /// `row < self.rows`, and the tensor's memory exists.
    #[inline]
    pub(crate) unsafe fn row<T>(&self, row: usize) -> *mut T {
        // SAFETY: inside the tensor by the caller's promise; the byte offset was
        // checked against isize::MAX when the tensor was made.
        unsafe { self.data.add(row * self.stride * self.dtype.size()).cast() }
    }

    /// The memory it covers.
    pub(crate) fn region(&self, name: &'static str, written: bool) -> Region {
        let size = self.dtype.size();
        Region::new(name, self.data, written, (self.rows, self.cols * size, self.stride * size))
    }
}

/// Memory of one argument: `rows` pieces of `row_bytes`, `stride_bytes` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    name: &'static str,
    written: bool,
    start: usize,
    end: usize,
    row_bytes: usize,
    /// 0 where there is one piece.
    stride_bytes: usize,
}

impl Region {
    /// A piece without gaps.
    pub(crate) fn flat<T>(name: &'static str, data: *const T, count: usize, written: bool) -> Region {
        Region::new(name, data.cast(), written, (1, count * size_of::<T>(), 0))
    }

    fn new(
        name: &'static str,
        data: *const u8,
        written: bool,
        (rows, row_bytes, stride_bytes): (usize, usize, usize),
    ) -> Region {
        let start = data as usize;
        let stride_bytes = if rows > 1 { stride_bytes } else { 0 };
        let bytes =
            if start == 0 || rows == 0 || row_bytes == 0 { 0 } else { (rows - 1) * stride_bytes + row_bytes };
        Region { name, written, start, end: start.saturating_add(bytes), row_bytes, stride_bytes }
    }

    /// Whether a byte belongs to both, neither of which is empty. Two column ranges of one wide
    /// matrix interleave without overlapping; that is recognised where their strides are equal.
    fn overlaps(&self, other: &Region) -> bool {
        if self.end <= other.start || other.end <= self.start {
            return false;
        }
        let stride = self.stride_bytes;
        if stride != other.stride_bytes || stride == 0 {
            return true;
        }
        let (first, second) = if self.start <= other.start { (self, other) } else { (other, self) };
        let offset = (second.start - first.start) % stride;
        offset < first.row_bytes || offset + second.row_bytes > stride
    }
}

/// All regions of one call, checked against one another without touching the heap.
pub(crate) struct Regions {
    list: [Option<Region>; 24],
    count: usize,
}

impl Regions {
    pub(crate) fn new() -> Regions {
        Regions { list: [None; 24], count: 0 }
    }

    /// Adds a region, or fails if it shares memory with an earlier one and either is
    /// written.
    pub(crate) fn add(&mut self, region: Region) -> Result<()> {
        if region.start == region.end {
            return Ok(());
        }
        for earlier in self.list[..self.count].iter().flatten() {
            if (earlier.written || region.written) && earlier.overlaps(&region) {
                return Err(Error::Overlap(earlier.name, region.name));
            }
        }
        self.list[self.count] = Some(region);
        self.count += 1;
        Ok(())
    }

    /// A region that was added to be read will be written too.
    pub(crate) fn will_be_written(&mut self, name: &'static str) -> Result<()> {
        let regions = &mut self.list[..self.count];
        for region in regions.iter_mut().flatten().filter(|region| region.name == name) {
            region.written = true;
        }
        let written = regions.iter().flatten().filter(|region| region.name == name);
        for (region, other) in
            written.flat_map(|region| regions.iter().flatten().map(move |other| (region, other)))
        {
            if other.name != name && region.overlaps(other) {
                return Err(Error::Overlap(other.name, region.name));
            }
        }
        Ok(())
    }
}

/// Cuts a workspace into aligned buffers. Without memory behind it, it only measures:
/// the same code says how much is needed and lays it out.
pub(crate) struct Arena {
    base: *mut u8,
    used: usize,
}

/// A cache line, and the widest vector.
pub(crate) const ALIGNMENT: usize = 64;

impl Arena {
    /// An arena that only measures.
    pub(crate) fn measure() -> Arena {
        Arena { base: std::ptr::null_mut(), used: 0 }
    }

    /// An arena over the caller's workspace, whatever its alignment.
    pub(crate) fn over(workspace: *mut u8) -> Arena {
        Arena { base: workspace, used: workspace.align_offset(ALIGNMENT) }
    }

    /// The next `count` elements.
    pub(crate) fn take<T>(&mut self, count: usize) -> *mut T {
        let buffer = self.base.wrapping_add(self.used).cast();
        self.used += (count * size_of::<T>()).next_multiple_of(ALIGNMENT);
        buffer
    }

    /// Bytes to ask of the caller for all that was taken from a measuring arena, with
    /// room to align the first buffer.
    pub(crate) fn bytes(&self) -> usize {
        self.used + ALIGNMENT
    }
}
