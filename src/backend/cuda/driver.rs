//! The driver's entry points, fetched once from libcuda. Every other file of the CUDA
//! engine calls through this table, so a symbol that an old driver lacks, or an error
//! code newer than this library, is an ordinary error.
//!
//! cudarc gives the types, the constants and the search for the library. Its own
//! wrappers are not called: they panic on a missing symbol, and hold a returned code in
//! an enum that has no value for an unknown one.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUhostFn, CUmodule, CUstream,
    CUuserObject,
};
use libloading::Library;

use super::nvrtc::loader_says;
use crate::allocation::check_room;
use crate::error::{Error, Result};

/// What every entry point returns: a `CUresult`, unknown ones included.
pub(crate) type Code = c_int;

macro_rules! table {
    ($(#[$doc:meta])* $table:ident
     required { $($symbol:ident($($argument:ty),*);)* }
     optional { $($(#[$note:meta])* $maybe:ident($($maybe_argument:ty),*);)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case)]
        pub(crate) struct $table {
            $(pub(crate) $symbol: unsafe extern "C" fn($($argument),*) -> Code,)*
            $(pub(crate) $maybe: Option<unsafe extern "C" fn($($maybe_argument),*) -> Code>,)*
        }

        impl $table {
            pub(super) fn fetch(library: &'static Library) -> Result<$table> {
                Ok($table {
                    // SAFETY: these are the signatures of cuda.h.
                    $($symbol: unsafe { required(library, stringify!($symbol))? },)*
                    // SAFETY: as above.
                    $($maybe: unsafe { library.get(concat!(stringify!($maybe), "\0")).ok().map(|symbol| *symbol) },)*
                })
            }
        }
    };
}

table! {
    /// The entry points under their own names.
    Driver
    required {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuGetErrorName(c_int, *mut *const c_char);
    cuGetErrorString(c_int, *mut *const c_char);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetAttribute(*mut c_int, c_int, CUdevice);
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuDevicePrimaryCtxRelease_v2(CUdevice);
    cuCtxPushCurrent_v2(CUcontext);
    cuCtxPopCurrent_v2(*mut CUcontext);
    cuPointerGetAttribute(*mut c_void, c_int, CUdeviceptr);
    cuModuleLoadData(*mut CUmodule, *const c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuFuncSetAttribute(CUfunction, c_int, c_int);
    cuLaunchKernel(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void
    );
    cuLaunchHostFunc(CUstream, CUhostFn, *mut c_void);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuMemFree_v2(CUdeviceptr);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    cuStreamSynchronize(CUstream);
    cuStreamGetCtx(CUstream, *mut CUcontext);
    cuStreamIsCapturing(CUstream, *mut c_int);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);
    cuEventSynchronize(CUevent);
    cuEventDestroy_v2(CUevent);
    cuThreadExchangeStreamCaptureMode(*mut c_int);
    }
    optional {
    // Drivers from 11.3 on have the first of these, from 12.3 on the second too.
    cuStreamGetCaptureInfo_v2(CUstream, *mut c_int, *mut u64, *mut CUgraph, *mut *const c_void, *mut usize);
    cuStreamGetCaptureInfo_v3(
        CUstream, *mut c_int, *mut u64, *mut CUgraph, *mut *const c_void, *mut *const c_void, *mut usize
    );
    cuUserObjectCreate(*mut CUuserObject, *mut c_void, CUhostFn, c_uint, c_uint);
    cuUserObjectRelease(CUuserObject, c_uint);
    cuGraphRetainUserObject(CUgraph, CUuserObject, c_uint, c_uint);
    // From 12.0 on: map, type, rank, address, sizes, pitches, box, steps, interleave, swizzle, promotion, fill.
    cuTensorMapEncodeTiled(
        *mut c_void, c_int, c_uint, *mut c_void, *const u64, *const u64, *const c_uint, *const c_uint, c_int, c_int, c_int, c_int
    );
    // From 12.4 on: loads a kernel whose module was loaded lazily.
    cuFuncLoad(CUfunction);
    }
}

/// # Safety
/// `T` is the type of a pointer to the function of that name.
unsafe fn required<T: Copy>(library: &'static Library, name: &str) -> Result<T> {
    // SAFETY: the caller's promise; the library is never closed.
    match unsafe { library.get::<T>(name) } {
        Ok(symbol) => Ok(*symbol),
        Err(_) => Err(Error::NoBackend(format!(
            "the CUDA driver has no {name}: it is too old, install a driver for CUDA 12 or later"
        ))),
    }
}

impl Driver {
    /// The table, with the driver initialised. An absent driver is looked for again at
    /// the next call; one that the parent of this process has started is an error.
    pub(crate) fn get() -> Result<&'static Driver> {
        static DRIVER: OnceLock<(u32, Driver)> = OnceLock::new();
        let process = std::process::id();
        match DRIVER.get() {
            Some((starter, driver)) if *starter == process => return Ok(driver),
            Some((starter, _)) => {
                return Err(Error::NoBackend(format!(
                    "backend = 1: process {process} was forked from {starter}, which had started CUDA, and CUDA \
                     does not survive a fork; fork before the first use of CUDA, or start a program anew"
                )));
            }
            None => {}
        }
        check_room("the CUDA driver")?;
        let driver = Driver::fetch(open()?)?;
        // SAFETY: cuInit may be called any number of times.
        let code = unsafe { (driver.cuInit)(0) };
        if code != 0 {
            return Err(Error::NoBackend(format!(
                "the CUDA driver does not start: {}",
                driver.describe(code)
            )));
        }
        Ok(&DRIVER.get_or_init(|| (process, driver)).1)
    }

    /// A code in the driver's words, or as a number where it has none.
    pub(crate) fn describe(&self, code: Code) -> String {
        let text = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> Code| {
            let mut text: *const c_char = std::ptr::null();
            // SAFETY: writes one pointer, to a string that lives as long as the driver.
            if unsafe { function(code, &mut text) } != 0 || text.is_null() {
                return None;
            }
            // SAFETY: a string of the driver's.
            Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        match (text(self.cuGetErrorName), text(self.cuGetErrorString)) {
            (Some(name), Some(meaning)) => format!("{name} ({code}): {meaning}"),
            (Some(name), None) => format!("{name} ({code})"),
            _ => format!("driver error {code}, which this driver has no name for"),
        }
    }

    /// The CUDA version the driver was made for, 13020 for 13.2.
    pub(crate) fn version(&self) -> i32 {
        let mut version = 0;
        // SAFETY: writes one integer.
        let code = unsafe { (self.cuDriverGetVersion)(&mut version) };
        if code == 0 { version } else { 0 }
    }
}

/// libcuda, kept open for the rest of the process. `libcuda.so.1` is what a driver
/// installs; plain `libcuda.so` may be the stub of a toolkit, so it comes later.
fn open() -> Result<&'static Library> {
    static OPENED: OnceLock<Library> = OnceLock::new();
    // SAFETY: loading libcuda runs its initialisers, which every CUDA program does.
    let error = match unsafe { Library::new("libcuda.so.1") } {
        Ok(library) => return Ok(OPENED.get_or_init(|| library)),
        Err(error) => error,
    };
    // SAFETY: as above. `culib` panics where `is_culib_present` is false.
    unsafe {
        if sys::is_culib_present() {
            return Ok(sys::culib());
        }
    }
    Err(Error::NoBackend(format!(
        "backend = 1: there is no CUDA driver here ({}); install NVIDIA's driver, or use the CPU engine, \
         backend = 0",
        loader_says(&error)
    )))
}
