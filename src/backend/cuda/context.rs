//! One device and its primary context, the one that PyTorch, JAX and the CUDA runtime
//! use too. It is made current for the length of a call and put back after.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute};

use super::driver::{Code, Driver};
use crate::error::{Error, Result};

/// Compute capability below which there is nothing to run.
const OLDEST_ARCH: u32 = 70;

/// A device, opened for one handle.
pub(crate) struct Device {
    pub(super) driver: &'static Driver,
    handle: CUdevice,
    pub(super) context: CUcontext,
    /// Which of the machine's devices.
    pub(crate) ordinal: i32,
    /// Compute capability, 90 for 9.0. Tensor-core kernels need 80.
    pub(crate) arch: u32,
    pub(crate) sm_count: u32,
    /// Shared memory that one block may ask for, in bytes.
    pub(crate) max_shared: u32,
    /// Whether any host memory can be used on the device, as on Grace Hopper.
    pub(crate) pageable: bool,
    /// The error that ended the device, 0 while it works.
    lost: AtomicI32,
}

// SAFETY: a primary context may be used from any thread.
unsafe impl Send for Device {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Device {}

/// How many devices there are, at least 1: none is an error.
pub(crate) fn count_devices() -> Result<i32> {
    let driver = Driver::get()?;
    let mut count = 0;
    // SAFETY: writes one integer.
    start(driver, "cuDeviceGetCount", unsafe { (driver.cuDeviceGetCount)(&mut count) })?;
    match count {
        0 => Err(Error::NoBackend("backend = 1: the CUDA driver finds no device on this machine".into())),
        count => Ok(count),
    }
}

impl Device {
    /// Opens device `ordinal` and retains its primary context.
    pub(crate) fn open(ordinal: i32) -> Result<Arc<Device>> {
        let driver = Driver::get()?;
        let count = count_devices()?;
        if !(0..count).contains(&ordinal) {
            return Err(Error::InvalidValue(format!("device = {ordinal} is outside [0, {count})")));
        }
        let mut handle = 0;
        // SAFETY: writes one handle.
        start(driver, "cuDeviceGet", unsafe { (driver.cuDeviceGet)(&mut handle, ordinal) })?;
        let attribute = |name: CUdevice_attribute| {
            let mut value = 0;
            // SAFETY: writes one integer.
            let code = unsafe { (driver.cuDeviceGetAttribute)(&mut value, name as i32, handle) };
            start(driver, "cuDeviceGetAttribute", code).map(|()| value.max(0) as u32)
        };
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let arch = major * 10 + minor;
        if arch < OLDEST_ARCH {
            return Err(Error::Architecture(format!(
                "device {ordinal} has compute capability {major}.{minor}; the CUDA engine needs 7.0 or later"
            )));
        }
        let sm_count = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let max_shared =
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let pageable = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS)? != 0;
        let mut context: CUcontext = std::ptr::null_mut();
        // SAFETY: writes one handle; released in Drop.
        let code = unsafe { (driver.cuDevicePrimaryCtxRetain)(&mut context, handle) };
        start(driver, "cuDevicePrimaryCtxRetain", code)?;
        Ok(Arc::new(Device {
            driver,
            handle,
            context,
            ordinal,
            arch,
            sm_count,
            max_shared,
            pageable,
            lost: AtomicI32::new(0),
        }))
    }

    /// Makes the context current on this thread until the guard goes.
    pub(crate) fn enter(&self) -> Result<Entered<'_>> {
        match self.lost.load(Ordering::Relaxed) {
            0 => self.enter_anyway(),
            code => Err(self.lost_error(code)),
        }
    }

    /// As `enter`, on a lost device too: what was allocated has to be given back.
    pub(super) fn enter_anyway(&self) -> Result<Entered<'_>> {
        // SAFETY: the context is retained.
        self.check("cuCtxPushCurrent", unsafe { (self.driver.cuCtxPushCurrent_v2)(self.context) })?;
        Ok(Entered { device: self, thread: PhantomData })
    }

    /// A driver's answer as a result; errors that end the device are remembered.
    pub(super) fn check(&self, call: &str, code: Code) -> Result<()> {
        self.check_named(code, || call.to_string())
    }

    /// As `check`, for a call whose numbers belong in the message.
    pub(super) fn check_named(&self, code: Code, call: impl FnOnce() -> String) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        if ends_the_device(code) {
            self.lost.store(code, Ordering::Relaxed);
            return Err(self.lost_error(code));
        }
        let text = format!("{}: {}", call(), self.driver.describe(code));
        Err(match code {
            2 => Error::DeviceMemory(format!("device {}: {text}", self.ordinal)),
            900..=908 => Error::GraphCapture(text),
            _ => Error::Launch(text),
        })
    }

    fn lost_error(&self, code: Code) -> Error {
        Error::DeviceLost(format!(
            "device {} failed: {}; nothing can be run on it until the process is started anew",
            self.ordinal,
            self.driver.describe(code)
        ))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`. At the end of a process the driver may have
        // shut down already; there is nothing left to release then.
        let _ = unsafe { (self.driver.cuDevicePrimaryCtxRelease_v2)(self.handle) };
    }
}

/// Errors before there is a device are all of one kind: it cannot be used here.
fn start(driver: &Driver, call: &str, code: Code) -> Result<()> {
    match code {
        0 => Ok(()),
        2 => Err(Error::DeviceMemory(format!("{call}: {}", driver.describe(code)))),
        _ => Err(Error::NoBackend(format!("backend = 1: {call}: {}", driver.describe(code)))),
    }
}

/// After these the context answers every call with an error: the driver's shutdown, a
/// failed kernel, a destroyed context, an uncorrectable memory or link error.
fn ends_the_device(code: Code) -> bool {
    matches!(code, 4 | 46 | 201 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721)
}

/// The device's context, current on this thread; popped when this goes.
pub(crate) struct Entered<'a> {
    pub(super) device: &'a Device,
    /// A context is current on one thread, so the guard stays there.
    thread: PhantomData<*const ()>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut popped: CUcontext = std::ptr::null_mut();
        // SAFETY: pushed by `enter` on this thread.
        let _ = unsafe { (self.device.driver.cuCtxPopCurrent_v2)(&mut popped) };
    }
}
