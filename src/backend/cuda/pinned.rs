//! Memory of our own, made at creation and given back at the end: pinned on the host, and
//! on the device.

use cudarc::driver::sys::{CU_MEMHOSTALLOC_PORTABLE, CUdeviceptr};
use libc::c_void;
use std::sync::Arc;

use super::context::Device;
use crate::error::{Error, Result};

/// Driver's code for memory that ran out.
const OUT_OF_MEMORY: i32 = 2;

/// Pinned host memory, zeroed, which copies on a stream need to be asynchronous.
pub(crate) struct Pinned {
    device: Arc<Device>,
    data: *mut u8,
    bytes: usize,
}

// SAFETY: plain memory; who writes when is decided by the owner.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// `bytes` of memory for `purpose`, which a failure names.
    pub(crate) fn new(device: &Arc<Device>, bytes: usize, purpose: &'static str) -> Result<Pinned> {
        let entered = device.enter()?;
        let _relaxed = entered.relaxed()?;
        let mut data: *mut c_void = std::ptr::null_mut();
        // Zero bytes are an error to the driver.
        let bytes = bytes.max(1);
        // SAFETY: writes one pointer; freed in Drop.
        match unsafe { (device.driver.cuMemHostAlloc)(&mut data, bytes, CU_MEMHOSTALLOC_PORTABLE) } {
            OUT_OF_MEMORY => return Err(Error::HostMemory { bytes, purpose }),
            code => device.check_named(code, || format!("cuMemHostAlloc: {bytes} bytes for {purpose}"))?,
        }
        // SAFETY: just allocated.
        unsafe { data.cast::<u8>().write_bytes(0, bytes) };
        Ok(Pinned { device: device.clone(), data: data.cast(), bytes })
    }

    pub(crate) fn data(&self) -> *mut u8 {
        self.data
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter_anyway() {
            let _relaxed = entered.relaxed();
            // SAFETY: allocated in `new`; an error here leaves nothing to do.
            let _ = unsafe { (self.device.driver.cuMemFreeHost)(self.data.cast()) };
        }
    }
}

/// Memory on the device.
pub(crate) struct DeviceMemory {
    device: Arc<Device>,
    address: CUdeviceptr,
}

impl DeviceMemory {
    /// `bytes` of memory for `purpose`, which a failure names. Not zeroed.
    pub(crate) fn new(device: &Arc<Device>, bytes: usize, purpose: &'static str) -> Result<DeviceMemory> {
        let entered = device.enter()?;
        let _relaxed = entered.relaxed()?;
        let mut address = 0;
        let bytes = bytes.max(1);
        // SAFETY: writes one address; freed in Drop.
        match unsafe { (device.driver.cuMemAlloc_v2)(&mut address, bytes) } {
            OUT_OF_MEMORY => {
                return Err(Error::DeviceMemory(format!(
                    "{bytes} bytes for {purpose} on device {}",
                    device.ordinal
                )));
            }
            code => device.check_named(code, || format!("cuMemAlloc: {bytes} bytes for {purpose}"))?,
        }
        Ok(DeviceMemory { device: device.clone(), address })
    }

    pub(crate) fn address(&self) -> CUdeviceptr {
        self.address
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter_anyway() {
            let _relaxed = entered.relaxed();
            // SAFETY: allocated in `new`; an error here leaves nothing to do.
            let _ = unsafe { (self.device.driver.cuMemFree_v2)(self.address) };
        }
    }
}
