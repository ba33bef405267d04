//! What goes on a stream: kernels, copies, host functions, events.

use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags};
use libc::c_void;
use std::sync::Arc;

use super::context::{Device, Entered};
use super::module::Function;
use super::pointers::Stream;
use crate::error::{Error, Result};

/// The driver's answer that an event is still ahead.
const NOT_READY: i32 = 600;

impl Entered<'_> {
    /// Launches `function` with its one argument, a struct of kernels/arguments.cuh. The
    /// block's threads and shared memory are the instance's. The arguments are copied
    /// before this returns.
    ///
    /// # Safety
    /// `T` is the struct that the kernel takes, and its pointers are what the kernel's
    /// comment says until the kernel has run.
    pub(crate) unsafe fn launch<T: Copy>(
        &self,
        function: &Function,
        grid: [u32; 3],
        stream: Stream,
        arguments: &T,
    ) -> Result<()> {
        let instance = function.instance;
        if grid.contains(&0) || grid[1] > 65_535 || grid[2] > 65_535 {
            return Err(Error::Shape(format!(
                "{}: a grid of {grid:?} blocks cannot be launched",
                instance.symbol()
            )));
        }
        let mut parameters = [std::ptr::from_ref(arguments).cast_mut().cast::<c_void>()];
        // SAFETY: one parameter, of the type the kernel takes by the caller's promise.
        let code = unsafe {
            (self.device.driver.cuLaunchKernel)(
                function.raw,
                grid[0],
                grid[1],
                grid[2],
                instance.threads,
                1,
                1,
                instance.shared,
                stream.0,
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.device.check_named(code, || {
            format!(
                "cuLaunchKernel: {} of {grid:?} blocks, {} threads, {} bytes of shared memory",
                instance.symbol(),
                instance.threads,
                instance.shared
            )
        })
    }

    /// Copies to the device. `from` has to be pinned where the stream may be captured.
    ///
    /// # Safety
    /// Both hold `bytes`, and live until the copy has run.
    pub(crate) unsafe fn copy_to_device_async(
        &self,
        to: CUdeviceptr,
        from: *const c_void,
        bytes: usize,
        stream: Stream,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.device.driver.cuMemcpyHtoDAsync_v2)(to, from, bytes, stream.0) };
        self.device.check_named(code, || format!("cuMemcpyHtoDAsync: {bytes} bytes"))
    }

    /// Copies to the host.
    ///
    /// # Safety
    /// As for `copy_to_device_async`.
    pub(crate) unsafe fn copy_to_host_async(
        &self,
        to: *mut c_void,
        from: CUdeviceptr,
        bytes: usize,
        stream: Stream,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.device.driver.cuMemcpyDtoHAsync_v2)(to, from, bytes, stream.0) };
        self.device.check_named(code, || format!("cuMemcpyDtoHAsync: {bytes} bytes"))
    }

    /// Runs `function(argument)` on a thread of the driver's when the stream gets there.
    /// It may not call CUDA.
    ///
    /// # Safety
    /// `argument` is what `function` takes, whenever it runs, each time in a graph.
    pub(crate) unsafe fn launch_host_function(
        &self,
        stream: Stream,
        function: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        let code = unsafe { (self.device.driver.cuLaunchHostFunc)(stream.0, Some(function), argument) };
        self.device.check("cuLaunchHostFunc", code)
    }

    /// Waits until all work on the stream is done; for creation and destruction only.
    pub(crate) fn synchronize(&self, stream: Stream) -> Result<()> {
        // SAFETY: a checked stream.
        self.device
            .check("cuStreamSynchronize", unsafe { (self.device.driver.cuStreamSynchronize)(stream.0) })
    }
}

/// A mark on a stream. Creating one is for creation time.
pub(crate) struct Event {
    device: Arc<Device>,
    raw: CUevent,
}

// SAFETY: an event's handle may be used from any thread.
unsafe impl Send for Event {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Event {}

impl Event {
    pub(crate) fn new(device: &Arc<Device>) -> Result<Event> {
        let entered = device.enter()?;
        let mut raw: CUevent = std::ptr::null_mut();
        let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: writes one handle; destroyed in Drop.
        let code = unsafe { (device.driver.cuEventCreate)(&mut raw, flags) };
        entered.device.check("cuEventCreate", code)?;
        Ok(Event { device: device.clone(), raw })
    }

    pub(crate) fn record(&self, entered: &Entered<'_>, stream: Stream) -> Result<()> {
        // SAFETY: both exist.
        let code = unsafe { (self.device.driver.cuEventRecord)(self.raw, stream.0) };
        entered.device.check("cuEventRecord", code)
    }

    /// Whether all before the last record has run; so too if nothing was recorded.
    pub(crate) fn is_done(&self, entered: &Entered<'_>) -> Result<bool> {
        // SAFETY: the event exists.
        match unsafe { (self.device.driver.cuEventQuery)(self.raw) } {
            NOT_READY => Ok(false),
            code => entered.device.check("cuEventQuery", code).map(|()| true),
        }
    }

    /// Blocks this thread until all before the last record has run.
    pub(crate) fn synchronize(&self, entered: &Entered<'_>) -> Result<()> {
        // SAFETY: the event exists.
        let code = unsafe { (self.device.driver.cuEventSynchronize)(self.raw) };
        entered.device.check("cuEventSynchronize", code)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_entered) = self.device.enter_anyway() {
            // SAFETY: created in `new`; an error here leaves nothing to do.
            let _ = unsafe { (self.device.driver.cuEventDestroy_v2)(self.raw) };
        }
    }
}
