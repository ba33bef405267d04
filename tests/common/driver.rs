//! What tests ask of the emulated driver themselves: streams, captures, device memory and
//! its books. As a caller of the library would.

use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

use libloading::Library;

type Code = i32;

/// The driver as a test calls it.
pub struct Driver(Library);

macro_rules! call {
    ($driver:expr, $name:literal: $($type:ty = $argument:expr),* $(,)?) => {{
        // SAFETY: the signature of cuda.h, and arguments that exist.
        let code = unsafe {
            let function = $driver.0.get::<unsafe extern "C" fn($($type),*) -> Code>($name.as_bytes()).unwrap();
            function($($argument),*)
        };
        assert_eq!(code, 0, $name);
    }};
}

impl Driver {
    /// Makes the primary context of device 0 current on this thread, too.
    pub fn open() -> Driver {
        let driver = Driver::books();
        call!(driver, "cuInit": u32 = 0);
        driver.enter();
        driver
    }

    /// Only for what the driver has counted.
    pub fn books() -> Driver {
        // SAFETY: the emulator's.
        Driver(unsafe { Library::new("libcuda.so.1") }.unwrap())
    }

    /// Makes the context current on the calling thread.
    pub fn enter(&self) {
        let mut context: *mut c_void = null_mut();
        call!(self, "cuDevicePrimaryCtxRetain": *mut *mut c_void = &mut context, i32 = 0);
        call!(self, "cuCtxSetCurrent": *mut c_void = context);
    }

    /// A stream that does not wait for the legacy one.
    pub fn stream(&self) -> *mut c_void {
        let mut stream = null_mut();
        call!(self, "cuStreamCreate": *mut *mut c_void = &mut stream, u32 = 1);
        stream
    }

    pub fn destroy_stream(&self, stream: *mut c_void) {
        call!(self, "cuStreamDestroy_v2": *mut c_void = stream);
    }

    pub fn synchronize(&self, stream: *mut c_void) {
        call!(self, "cuStreamSynchronize": *mut c_void = stream);
    }

    /// Begins a capture of the strictest kind.
    pub fn begin_capture(&self, stream: *mut c_void) {
        call!(self, "cuStreamBeginCapture_v2": *mut c_void = stream, i32 = 0);
    }

    /// Ends it; what was captured, to be destroyed.
    pub fn captured(&self, stream: *mut c_void) -> *mut c_void {
        let mut graph = null_mut();
        call!(self, "cuStreamEndCapture": *mut c_void = stream, *mut *mut c_void = &mut graph);
        graph
    }

    pub fn destroy_graph(&self, graph: *mut c_void) {
        call!(self, "cuGraphDestroy": *mut c_void = graph);
    }

    /// Ends a capture and makes it executable.
    pub fn end_capture(&self, stream: *mut c_void) -> Graph<'_> {
        let (graph, mut exec) = (self.captured(stream), null_mut());
        call!(
            self,
            "cuGraphInstantiateWithFlags": *mut *mut c_void = &mut exec, *mut c_void = graph, u64 = 0,
        );
        self.destroy_graph(graph);
        Graph { driver: self, exec }
    }

    /// Ends a capture that is of no use, spoilt perhaps.
    pub fn abandon_capture(&self, stream: *mut c_void) {
        let mut graph: *mut c_void = null_mut();
        // SAFETY: as in the macro; an error is expected.
        unsafe {
            let end = self
                .0
                .get::<unsafe extern "C" fn(*mut c_void, *mut *mut c_void) -> Code>(b"cuStreamEndCapture");
            end.unwrap()(stream, &mut graph);
        }
        if !graph.is_null() {
            self.destroy_graph(graph);
        }
    }

    pub fn allocate(&self, bytes: usize) -> u64 {
        let mut address = 0;
        call!(self, "cuMemAlloc_v2": *mut u64 = &mut address, usize = bytes.max(1));
        address
    }

    /// Memory that host and device share.
    pub fn allocate_managed(&self, bytes: usize) -> u64 {
        let (mut address, global) = (0, 1);
        call!(self, "cuMemAllocManaged": *mut u64 = &mut address, usize = bytes, u32 = global);
        address
    }

    pub fn free(&self, address: u64) {
        call!(self, "cuMemFree_v2": u64 = address);
    }

    /// How often a function of the driver was called.
    pub fn calls(&self, name: &str) -> u64 {
        let name = CString::new(name).unwrap();
        // SAFETY: tests/emu/fake_cuda_call.cpp.
        unsafe {
            let calls = self.0.get::<unsafe extern "C" fn(*const libc::c_char) -> u64>(b"fake_cuda_calls");
            calls.unwrap()(name.as_ptr())
        }
    }

    /// Lets calls fail from here on, as FAKE_CUDA_FAIL in tests/emu/fake_cuda.h says.
    pub fn fail(&self, failures: &str) {
        let failures = CString::new(failures).unwrap();
        // SAFETY: tests/emu/fake_cuda_call.cpp.
        unsafe {
            let fail = self.0.get::<unsafe extern "C" fn(*const libc::c_char)>(b"fake_cuda_fail");
            fail.unwrap()(failures.as_ptr());
        }
    }

    /// Bytes allocated on the device.
    pub fn memory_in_use(&self) -> u64 {
        // SAFETY: tests/emu/fake_cuda_memory.cpp.
        unsafe { self.0.get::<unsafe extern "C" fn(i32) -> u64>(b"fake_cuda_memory_in_use").unwrap()(0) }
    }

    /// What the primary context of device 0 holds: memory, modules, events, streams.
    pub fn holdings(&self) -> String {
        // SAFETY: tests/emu/fake_cuda_memory.cpp, which gives a string until the next call.
        unsafe {
            let holdings =
                self.0.get::<unsafe extern "C" fn(i32) -> *const libc::c_char>(b"fake_cuda_holdings");
            CStr::from_ptr(holdings.unwrap()(0)).to_string_lossy().into_owned()
        }
    }

    /// Contexts current on this thread, one above the other.
    pub fn context_depth(&self) -> i32 {
        // SAFETY: tests/emu/fake_cuda_context.cpp.
        unsafe { self.0.get::<unsafe extern "C" fn() -> i32>(b"fake_cuda_context_depth").unwrap()() }
    }
}

/// An executable graph.
pub struct Graph<'a> {
    driver: &'a Driver,
    exec: *mut c_void,
}

impl Graph<'_> {
    pub fn launch(&self, stream: *mut c_void) {
        call!(self.driver, "cuGraphLaunch": *mut c_void = self.exec, *mut c_void = stream);
        self.driver.synchronize(stream);
    }
}

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        call!(self.driver, "cuGraphExecDestroy": *mut c_void = self.exec);
    }
}
