//! Stream capture: whether a stream is being captured, into which graph, and how
//! something of ours lives as long as that graph and what is made of it.

use cudarc::driver::sys::{
    CUgraph, CUstreamCaptureMode, CUstreamCaptureStatus, CUuserObject, CUuserObject_flags,
    CUuserObjectRetain_flags,
};
use libc::c_void;

use super::context::{Device, Entered};
use super::pointers::Stream;
use crate::error::{Error, Result};

/// What a stream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureState {
    None,
    Active,
    /// A capture that an earlier mistake has spoilt.
    Invalidated,
}

/// A capture under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capture {
    graph: CUgraph,
}

impl Entered<'_> {
    /// Whether the stream is being captured. Asking is allowed at any time, except on the
    /// legacy stream while another stream is captured; that is a GRAPH_CAPTURE error.
    pub(crate) fn is_capturing(&self, stream: Stream) -> Result<CaptureState> {
        let mut status = 0;
        // SAFETY: writes one integer.
        let code = unsafe { (self.device.driver.cuStreamIsCapturing)(stream.0, &mut status) };
        self.device.check("cuStreamIsCapturing", code)?;
        Ok(state(status))
    }

    /// The capture that the stream is in.
    pub(crate) fn capture(&self, stream: Stream) -> Result<Option<Capture>> {
        let driver = self.device.driver;
        let (mut status, mut id) = (0, 0);
        let mut graph: CUgraph = std::ptr::null_mut();
        let none = std::ptr::null_mut();
        // SAFETY: writes what is asked for; outputs that are NULL are not.
        let code = unsafe {
            if let Some(info) = driver.cuStreamGetCaptureInfo_v2 {
                info(stream.0, &mut status, &mut id, &mut graph, std::ptr::null_mut(), none)
            } else if let Some(info) = driver.cuStreamGetCaptureInfo_v3 {
                let edges = std::ptr::null_mut();
                info(stream.0, &mut status, &mut id, &mut graph, std::ptr::null_mut(), edges, none)
            } else {
                return Err(too_old());
            }
        };
        self.device.check("cuStreamGetCaptureInfo", code)?;
        Ok((state(status) == CaptureState::Active).then_some(Capture { graph }))
    }

    /// Gives `value` to the graph being captured: it is dropped when the graph and all
    /// that was instantiated from it are destroyed, on a thread of the driver's where
    /// nothing may call CUDA. What needs CUDA to be freed has to be handed on by its Drop.
    pub(crate) fn give_to_graph<T: Send + 'static>(&self, capture: &Capture, value: Box<T>) -> Result<()> {
        let driver = self.device.driver;
        let (Some(create), Some(release), Some(retain)) =
            (driver.cuUserObjectCreate, driver.cuUserObjectRelease, driver.cuGraphRetainUserObject)
        else {
            return Err(too_old());
        };
        unsafe extern "C" fn destroy<T>(value: *mut c_void) {
            // A panic may not unwind into the driver.
            let _ = std::panic::catch_unwind(|| {
                // SAFETY: the box that `give_to_graph` took apart; called once.
                drop(unsafe { Box::from_raw(value.cast::<T>()) });
            });
        }
        let value = Box::into_raw(value);
        let mut object: CUuserObject = std::ptr::null_mut();
        let flags = CUuserObject_flags::CU_USER_OBJECT_NO_DESTRUCTOR_SYNC as u32;
        // SAFETY: `destroy` takes what is passed beside it.
        let code = unsafe { create(&mut object, value.cast(), Some(destroy::<T>), 1, flags) };
        if let Err(error) = self.device.check("cuUserObjectCreate", code) {
            // SAFETY: the driver did not take it.
            drop(unsafe { Box::from_raw(value) });
            return Err(error);
        }
        let flags = CUuserObjectRetain_flags::CU_GRAPH_USER_OBJECT_MOVE as u32;
        // SAFETY: both exist; the one reference moves to the graph.
        let code = unsafe { retain(capture.graph, object, 1, flags) };
        self.device.check("cuGraphRetainUserObject", code).inspect_err(|_| {
            // SAFETY: the reference is still ours; the driver calls `destroy`.
            let _ = unsafe { release(object, 1) };
        })
    }

    /// Until the guard goes, this thread may allocate, free and load while other threads
    /// capture: their captures do not forbid it, and are not spoilt by it.
    pub(crate) fn relaxed(&self) -> Result<Relaxed<'_>> {
        let mode = exchange(self.device, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED as i32)?;
        Ok(Relaxed { device: self.device, mode })
    }
}

/// The thread's capture mode is relaxed; its own is put back when this goes.
pub(crate) struct Relaxed<'a> {
    device: &'a Device,
    mode: i32,
}

impl Drop for Relaxed<'_> {
    fn drop(&mut self) {
        let _ = exchange(self.device, self.mode);
    }
}

fn exchange(device: &Device, mut mode: i32) -> Result<i32> {
    // SAFETY: reads and writes one integer.
    let code = unsafe { (device.driver.cuThreadExchangeStreamCaptureMode)(&mut mode) };
    device.check("cuThreadExchangeStreamCaptureMode", code).map(|()| mode)
}

fn state(status: i32) -> CaptureState {
    if status == CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as i32 {
        CaptureState::None
    } else if status == CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE as i32 {
        CaptureState::Active
    } else {
        CaptureState::Invalidated
    }
}

fn too_old() -> Error {
    Error::GraphCapture(
        "this driver cannot tie memory to a graph, so the handle's sampler cannot be captured; install a driver \
         for CUDA 12 or later, or capture with ids of your own (SSL_SAMPLER_CALLER)"
            .into(),
    )
}
