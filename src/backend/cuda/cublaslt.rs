//! Two plain products by cuBLASLt, where it is there: rows of probabilities times rows of
//! an operand. It is opened at run time and never needed; kernels/product.cuh computes the
//! same.

use std::collections::HashMap;
use std::ffi::c_int;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtReductionScheme_t, cudaDataType_t,
};
use libc::c_void;

use super::context::{Device, Entered};
use super::cublaslt_library::{Algorithm, Heuristic, Library, Owned};
use super::pointers::Stream;
use crate::allocation::check_room;
use crate::error::{Error, Result};

/// CUBLAS_OP_T.
const TRANSPOSE: u32 = 1;

/// What the factors are; the product is float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Factors {
    Bf16,
    F16,
    /// float32, multiplied as tf32.
    Tf32,
}

/// The sizes of a product of row-major matrices: out (+)= a b, or a^T b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Product {
    pub(crate) factors: Factors,
    /// `a` is [depth, rows], read as its transpose; otherwise [rows, depth].
    pub(crate) transposed: bool,
    /// `out` is added to.
    pub(crate) accumulate: bool,
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) dim: usize,
    /// Elements from row to row.
    pub(crate) a_stride: usize,
    pub(crate) b_stride: usize,
    pub(crate) out_stride: usize,
}

/// The device addresses of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) out: u64,
    pub(crate) workspace: u64,
    pub(crate) workspace_bytes: usize,
}

/// What the choice of an algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    product: Product,
    alignments: [u32; 3],
    workspace_bytes: usize,
}

impl Key {
    fn of(product: &Product, operands: &Operands) -> Key {
        let alignments = [operands.a, operands.b, operands.out].map(alignment);
        Key { product: *product, alignments, workspace_bytes: operands.workspace_bytes }
    }
}

/// An algorithm for one key, with the descriptions it is called with.
struct Plan {
    operation: Owned,
    a: Owned,
    b: Owned,
    out: Owned,
    algorithm: Algorithm,
}

// SAFETY: descriptions are not changed once they are made.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

/// cuBLASLt on one device.
pub(crate) struct CublasLt {
    device: Arc<Device>,
    library: &'static Library,
    handle: *mut c_void,
    /// `None`: cuBLASLt has nothing for this key.
    plans: Mutex<HashMap<Key, Option<Arc<Plan>>>>,
}

// SAFETY: cuBLASLt's handle may be used by several threads at once.
unsafe impl Send for CublasLt {}
// SAFETY: as above.
unsafe impl Sync for CublasLt {}

impl CublasLt {
    /// Opens it; `None` where it is not to be found or does not start.
    pub(crate) fn open(device: &Arc<Device>) -> Option<CublasLt> {
        let library = Library::get(device.driver.version())?;
        let entered = device.enter().ok()?;
        let _relaxed = entered.relaxed().ok()?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes one handle; destroyed in Drop.
        let code = unsafe { (library.cublasLtCreate)(&mut handle) };
        (code == 0).then(|| CublasLt {
            device: device.clone(),
            library,
            handle,
            plans: Mutex::new(HashMap::new()),
        })
    }

    /// Puts a product on the stream. `false`: cuBLASLt has no algorithm for it, and
    /// nothing was done. All rows of both factors are read, so a NaN in `b` passes even
    /// where `a` is zero.
    ///
    /// # Safety
    /// The operands are as large as `product` says and live until the product has run.
    pub(crate) unsafe fn multiply(
        &self,
        entered: &Entered<'_>,
        product: &Product,
        operands: &Operands,
        stream: Stream,
    ) -> Result<bool> {
        let Some(plan) = self.plan(&Key::of(product, operands))? else { return Ok(false) };
        let (one, beta) = (1.0f32, if product.accumulate { 1.0f32 } else { 0.0 });
        // Its kernels load at their first use, which may be in another thread's capture.
        let _relaxed = entered.relaxed()?;
        // cuBLASLt is column-major: out^T = b^T a^T, so the factors change places.
        // SAFETY: the caller's promise; the factors' descriptions are those of the plan.
        let code = unsafe {
            (self.library.cublasLtMatmul)(
                self.handle,
                plan.operation.raw,
                (&raw const one).cast(),
                operands.b as *const c_void,
                plan.b.raw,
                operands.a as *const c_void,
                plan.a.raw,
                (&raw const beta).cast(),
                operands.out as *const c_void,
                plan.out.raw,
                operands.out as *mut c_void,
                plan.out.raw,
                &plan.algorithm,
                operands.workspace as *mut c_void,
                operands.workspace_bytes,
                stream.0.cast(),
            )
        };
        self.check("cublasLtMatmul", code, product).map(|()| true)
    }

    /// Whether `multiply` has an algorithm for the same product.
    pub(crate) fn can_multiply(&self, product: &Product, operands: &Operands) -> Result<bool> {
        self.plan(&Key::of(product, operands)).map(|plan| plan.is_some())
    }

    fn plan(&self, key: &Key) -> Result<Option<Arc<Plan>>> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(key) {
            return Ok(plan.clone());
        }
        check_room("a plan of cuBLASLt")?;
        let plan = self.make_plan(key)?.map(Arc::new);
        plans.insert(*key, plan.clone());
        Ok(plan)
    }

    fn make_plan(&self, key: &Key) -> Result<Option<Plan>> {
        let Product { factors, transposed, rows, depth, dim, a_stride, b_stride, out_stride, .. } =
            key.product;
        let (element, compute) = match factors {
            Factors::Bf16 => (cudaDataType_t::CUDA_R_16BF, cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Factors::F16 => (cudaDataType_t::CUDA_R_16F, cublasComputeType_t::CUBLAS_COMPUTE_32F),
            Factors::Tf32 => (cudaDataType_t::CUDA_R_32F, cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32),
        };
        let float = cudaDataType_t::CUDA_R_32F;
        let operation = self.operation(key, compute as c_int, float as c_int)?;
        // A row-major matrix is a column-major one of its columns' number of rows.
        let (a_rows, a_cols) = if transposed { (rows, depth) } else { (depth, rows) };
        let a = self.layout(key, element, [a_rows, a_cols, a_stride])?;
        let b = self.layout(key, element, [dim, depth, b_stride])?;
        let out = self.layout(key, float, [dim, rows, out_stride])?;
        let preference = self.preference(key)?;
        let mut found = Heuristic::default();
        let mut count = 0;
        // SAFETY: writes at most one result.
        let code = unsafe {
            (self.library.cublasLtMatmulAlgoGetHeuristic)(
                self.handle,
                operation.raw,
                b.raw,
                a.raw,
                out.raw,
                out.raw,
                preference.raw,
                1,
                &mut found,
                &mut count,
            )
        };
        // "Not supported" and an empty list both mean that there is none.
        let usable = code == 0 && count > 0 && found.state == 0;
        Ok(usable.then_some(Plan { operation, a, b, out, algorithm: found.algorithm }))
    }

    fn layout(&self, key: &Key, element: cudaDataType_t, [rows, cols, stride]: [usize; 3]) -> Result<Owned> {
        let library = self.library;
        // SAFETY: writes one handle, which `Owned` gives back.
        let made = unsafe {
            Owned::new(library.cublasLtMatrixLayoutDestroy, |raw| {
                let (rows, cols, stride) = (rows as u64, cols as u64, stride as i64);
                (library.cublasLtMatrixLayoutCreate)(raw, element as c_int, rows, cols, stride)
            })
        };
        made.map_err(|code| self.error("cublasLtMatrixLayoutCreate", code, &key.product))
    }

    fn operation(&self, key: &Key, compute: c_int, scale: c_int) -> Result<Owned> {
        let library = self.library;
        // SAFETY: writes one handle, which `Owned` gives back.
        let made = unsafe {
            Owned::new(library.cublasLtMatmulDescDestroy, |raw| {
                (library.cublasLtMatmulDescCreate)(raw, compute, scale)
            })
        };
        let operation = made.map_err(|code| self.error("cublasLtMatmulDescCreate", code, &key.product))?;
        if key.product.transposed {
            let attribute = DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB as c_int;
            let value = ptr::from_ref(&TRANSPOSE).cast();
            // SAFETY: an attribute of four bytes.
            let code =
                unsafe { (library.cublasLtMatmulDescSetAttribute)(operation.raw, attribute, value, 4) };
            self.check("cublasLtMatmulDescSetAttribute", code, &key.product)?;
        }
        Ok(operation)
    }

    fn preference(&self, key: &Key) -> Result<Owned> {
        let library = self.library;
        // SAFETY: writes one handle, which `Owned` gives back.
        let made = unsafe {
            Owned::new(library.cublasLtMatmulPreferenceDestroy, |raw| {
                (library.cublasLtMatmulPreferenceCreate)(raw)
            })
        };
        let preference =
            made.map_err(|code| self.error("cublasLtMatmulPreferenceCreate", code, &key.product))?;
        let set = |attribute: Preference, value: &[u8]| {
            let (data, bytes) = (value.as_ptr().cast(), value.len());
            // SAFETY: `value` has the attribute's size.
            let code = unsafe {
                (library.cublasLtMatmulPreferenceSetAttribute)(
                    preference.raw,
                    attribute as c_int,
                    data,
                    bytes,
                )
            };
            self.check("cublasLtMatmulPreferenceSetAttribute", code, &key.product)
        };
        let workspace_bytes = key.workspace_bytes as u64;
        set(Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes.to_ne_bytes())?;
        // Sums split over blocks are added in no fixed order; without a reduction none are.
        let scheme = cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        set(Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme.to_ne_bytes())?;
        // In cuBLASLt's order, in which the first factor is b.
        let [a, b, out] = key.alignments;
        set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &b.to_ne_bytes())?;
        set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &a.to_ne_bytes())?;
        set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &out.to_ne_bytes())?;
        set(Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out.to_ne_bytes())?;
        Ok(preference)
    }

    fn check(&self, call: &str, code: c_int, product: &Product) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.error(call, code, product)) }
    }

    fn error(&self, call: &str, code: c_int, product: &Product) -> Error {
        let Product { rows, depth, dim, .. } = product;
        Error::Launch(format!(
            "{call}: cuBLAS status {code} ({}; {rows} x {depth} x {dim})",
            self.library.path.display()
        ))
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter_anyway() {
            let _relaxed = entered.relaxed();
            // SAFETY: created in `open`; an error here leaves nothing to do.
            let _ = unsafe { (self.library.cublasLtDestroy)(self.handle) };
        }
    }
}

/// The largest power of two that divides an address, as far as cuBLASLt cares.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

#[cfg(test)]
#[path = "cublaslt_tests.rs"]
mod tests;
