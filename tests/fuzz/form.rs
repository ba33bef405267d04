//! How a struct is handed over: its size, its place, what is behind it.

use std::mem::{size_of, zeroed};
use std::ptr::null_mut;

use super::choices::Choices;
use super::memory::{Memory, Place};

/// How a struct is handed over: NULL, or so many bytes of it, of which one behind those
/// that the library knows may be set.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub is_null: bool,
    pub size: u32,
    pub set_byte: Option<usize>,
}

impl Form {
    pub fn new(choices: &mut Choices, known: usize) -> Form {
        let mut form = Form { is_null: false, size: known as u32, set_byte: None };
        if !choices.one_in(48) {
            return form;
        }
        match choices.below(8) {
            0 => form.is_null = true,
            1 => form.size = u32::from(choices.byte()),
            2 => form.size = choices.pick(&[4096, 4088, 4097, 4104, 1 << 20, u32::MAX, u32::MAX - 7, 0]),
            3 | 4 => form.size = choices.below(known / 8 + 1) as u32 * 8,
            _ => form.size = 8 * (known as u32 / 8 + u32::from(choices.byte() % 64)),
        }
        let size = form.size as usize;
        if size > known && size <= 4096 && choices.one_in(2) {
            form.set_byte = Some(known + (choices.word() as usize) % (size - known));
        }
        form
    }

    pub fn is_wrong(&self) -> bool {
        !(8..=4096).contains(&self.size) || !self.size.is_multiple_of(8) || self.set_byte.is_some()
    }

    /// What is behind the stated size is 0 for the library, if it is a size.
    pub fn cut<T: Copy>(&self, value: T) -> T {
        if self.is_wrong() {
            return value;
        }
        let kept = (self.size as usize).min(size_of::<T>());
        // SAFETY: the structs of the ABI may be any bytes.
        unsafe {
            let mut cut: T = zeroed();
            std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), (&raw mut cut).cast(), kept);
            cut
        }
    }

    /// The struct in memory, with as many bytes as it says.
    pub fn place<T: Copy>(&self, choices: &mut Choices, memory: &mut Memory, value: &T) -> *mut T {
        if self.is_null {
            return null_mut();
        }
        let size = self.size as usize;
        let bytes = if size > 4096 { size_of::<T>() } else { size.max(4) };
        let shift = if choices.one_in(16) { choices.below(8) } else { 0 };
        let at = memory.place(bytes, Place { at_end: true, shift, scratch: false }).cast::<u8>();
        // SAFETY: `bytes` bytes are there.
        unsafe {
            at.write_bytes(0, bytes);
            let source = (&raw const *value).cast::<u8>();
            std::ptr::copy_nonoverlapping(source, at, bytes.min(size_of::<T>()));
            at.cast::<u32>().write_unaligned(self.size);
            if let Some(offset) = self.set_byte {
                at.add(offset).write(1);
            }
        }
        at.cast()
    }
}
