//! Whether a stream or a pointer of the caller's belongs to the handle's device.

use cudarc::driver::sys::{CUcontext, CUpointer_attribute, CUstream};
use libc::c_void;

use super::context::{Device, Entered};
use crate::error::{Error, Result};

/// A stream that was checked to be of this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream(pub(super) CUstream);

impl Stream {
    /// The default stream of this device.
    #[cfg(test)]
    pub(crate) const DEFAULT: Stream = Stream(std::ptr::null_mut());
}

// SAFETY: a stream's handle may be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

const INVALID_VALUE: i32 = 1;
const MEMORY_TYPE_HOST: u32 = 1;

impl Device {
    /// The caller's stream, refused where it belongs to another context. NULL, 1 (the
    /// legacy stream) and 2 (the thread's own) mean those of the handle's device,
    /// whatever context the caller has current.
    ///
    /// # Safety
    /// `stream` is one of these or an existing stream.
    pub(crate) unsafe fn check_stream(&self, stream: *mut c_void) -> Result<Stream> {
        if stream as usize <= 2 {
            return Ok(Stream(stream.cast()));
        }
        let entered = self.enter()?;
        let mut context: CUcontext = std::ptr::null_mut();
        // SAFETY: an existing stream by the caller's promise.
        let code = unsafe { (self.driver.cuStreamGetCtx)(stream.cast(), &mut context) };
        entered.device.check("stream: cuStreamGetCtx", code)?;
        if context != self.context {
            return Err(Error::InvalidValue(format!(
                "stream = {stream:p} belongs to another context than the primary one of device {}, which the \
                 handle runs on; make the stream on that device, or a handle for the stream's device",
                self.ordinal
            )));
        }
        Ok(Stream(stream.cast()))
    }
}

impl Entered<'_> {
    /// Refuses what the device cannot reach: plain host memory, and memory of another
    /// device. Pinned and managed memory pass, and everything on a machine where the
    /// device reaches all memory. NULL passes; whether it may be is not asked here.
    pub(crate) fn check_pointer(&self, name: &'static str, address: *const c_void) -> Result<()> {
        if self.device.pageable || address.is_null() {
            return Ok(());
        }
        let ordinal = self.attribute(CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address)?;
        let Some(ordinal) = ordinal else {
            return Err(Error::InvalidValue(format!(
                "{name} = {address:p} is host memory; the CUDA engine needs memory of device {}",
                self.device.ordinal
            )));
        };
        if ordinal as i32 == self.device.ordinal {
            return Ok(());
        }
        // Pinned and managed memory has a home but is reached from every device.
        let kind = self.attribute(CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address)?;
        let managed = self.attribute(CUpointer_attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED, address)?;
        if kind == Some(MEMORY_TYPE_HOST) || managed.is_some_and(|managed| managed & 0xff != 0) {
            return Ok(());
        }
        Err(Error::InvalidValue(format!(
            "{name} = {address:p} is memory of device {}; the handle runs on device {}",
            ordinal as i32, self.device.ordinal
        )))
    }

    /// One attribute of an address, `None` where CUDA knows nothing of it.
    fn attribute(&self, attribute: CUpointer_attribute, address: *const c_void) -> Result<Option<u32>> {
        let mut value = 0u32;
        // SAFETY: these attributes are 4 bytes, or one byte for IS_MANAGED.
        let code = unsafe {
            (self.device.driver.cuPointerGetAttribute)(
                (&raw mut value).cast(),
                attribute as i32,
                address as u64,
            )
        };
        match code {
            INVALID_VALUE => Ok(None),
            code => self.device.check("cuPointerGetAttribute", code).map(|()| Some(value)),
        }
    }
}
