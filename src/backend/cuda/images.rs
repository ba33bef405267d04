//! Where a module's machine code comes from: compiled into this library, kept in the
//! cache on disk, or compiled now.

use super::sources::Unit;
use crate::error::{Error, Result};

/// Machine code of one module.
pub(crate) struct Image {
    /// A cubin, or PTX that ends in NUL.
    pub(crate) bytes: Vec<u8>,
    /// What made it, for messages.
    pub(crate) origin: String,
}

/// The source of images for one architecture.
pub(crate) struct Images {
    arch: u32,
}

impl Images {
    pub(crate) fn find(arch: u32, _driver: i32) -> Result<Images> {
        Ok(Images { arch })
    }

    pub(crate) fn get(&self, unit: &Unit) -> Result<Image> {
        Err(Error::NoBackend(format!("{} for sm_{}", unit.name(), self.arch)))
    }
}
