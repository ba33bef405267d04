//! The few entry points of cuBLASLt that a plain product needs, and its descriptions as
//! things that give themselves back. Codes and enums cross as
//! integers, as in driver.rs.

use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use libc::c_void;

use super::libraries::{self, Places};

/// A `cublasLtMatmulAlgo_t`, which may be copied.
pub(super) type Algorithm = [u64; 8];

/// One answer of the heuristic.
#[repr(C)]
#[derive(Default)]
pub(super) struct Heuristic {
    pub(super) algorithm: Algorithm,
    workspace_bytes: usize,
    /// 0: the algorithm can be used.
    pub(super) state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

type Make = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type Give = unsafe extern "C" fn(*mut c_void) -> c_int;
type Set = unsafe extern "C" fn(*mut c_void, c_int, *const c_void, usize) -> c_int;
type Any = *mut c_void;
type Data = *const c_void;

macro_rules! library {
    ($($symbol:ident: $type:ty;)*) => {
        /// An open cuBLASLt; never closed.
        #[allow(non_snake_case)]
        pub(super) struct Library {
            /// The file or name it was opened by.
            pub(super) path: PathBuf,
            $(pub(super) $symbol: $type,)*
        }

        impl Library {
            fn open(path: &Path) -> Option<Library> {
                // SAFETY: loading cuBLASLt runs its initialisers, which every user of it does.
                let library = ManuallyDrop::new(unsafe { libloading::Library::new(path) }.ok()?);
                Some(Library {
                    path: path.into(),
                    // SAFETY: these are the signatures of cublasLt.h.
                    $($symbol: *unsafe { library.get::<$type>(stringify!($symbol)) }.ok()?,)*
                })
            }
        }
    };
}

library! {
    cublasLtCreate: Make;
    cublasLtDestroy: Give;
    cublasLtMatmulDescCreate: unsafe extern "C" fn(*mut Any, c_int, c_int) -> c_int;
    cublasLtMatmulDescDestroy: Give;
    cublasLtMatmulDescSetAttribute: Set;
    cublasLtMatrixLayoutCreate: unsafe extern "C" fn(*mut Any, c_int, u64, u64, i64) -> c_int;
    cublasLtMatrixLayoutDestroy: Give;
    cublasLtMatmulPreferenceCreate: Make;
    cublasLtMatmulPreferenceDestroy: Give;
    cublasLtMatmulPreferenceSetAttribute: Set;
    cublasLtMatmulAlgoGetHeuristic:
        unsafe extern "C" fn(Any, Any, Any, Any, Any, Any, Any, c_int, *mut Heuristic, *mut c_int) -> c_int;
    cublasLtMatmul: unsafe extern "C" fn(
        Any, Any, Data, Data, Any, Data, Any, Data, Data, Any, Any, Any, *const Algorithm, Any, usize, Any
    ) -> c_int;
}

impl Library {
    /// cuBLASLt for a driver of this CUDA version; SAMPLED_SOFTMAX_CUBLASLT may name its
    /// file. Opened once in a process, and looked for again while it is not there.
    pub(super) fn get(driver: i32) -> Option<&'static Library> {
        static OPEN: Mutex<Option<&'static Library>> = Mutex::new(None);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Library::find(&Places::of_process(Some("SAMPLED_SOFTMAX_CUBLASLT")), driver)
                .map(|library| &*Box::leak(Box::new(library)));
        }
        *open
    }

    fn find(places: &Places, driver: i32) -> Option<Library> {
        let paths =
            libraries::majors(driver).into_iter().flat_map(|major| places.candidates("libcublasLt", major));
        paths.into_iter().find_map(|path| Library::open(&path))
    }
}

/// A description, given back when it goes.
pub(super) struct Owned {
    pub(super) raw: *mut c_void,
    give: Give,
}

impl Owned {
    /// What `make` writes, to be given back by `give`; or the code of its failure.
    ///
    /// # Safety
    /// `make` writes a handle that `give` takes.
    pub(super) unsafe fn new(
        give: Give,
        make: impl FnOnce(*mut *mut c_void) -> c_int,
    ) -> Result<Owned, c_int> {
        let mut raw = ptr::null_mut();
        match make(&mut raw) {
            0 => Ok(Owned { raw, give }),
            code => Err(code),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: made by `new`.
        unsafe { (self.give)(self.raw) };
    }
}
