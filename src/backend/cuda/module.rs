//! The kernels on a device: each module is made and loaded when a call first needs it,
//! and stays until the handle goes.

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUmodule};
use std::ffi::CString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::cache;
use super::context::{Device, Entered};
use super::graph::CaptureState;
use super::images::{Image, Images};
use super::instances::{self, Instance};
use super::pointers::Stream;
use super::sources::Unit;
use crate::allocation::check_room_of;
use crate::error::{Error, Result};

/// Dynamic shared memory that a kernel gets without being allowed more.
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;
/// Above what sources, headers and code of a module take, beside the compiler's own.
const MAKING: usize = 4 * cache::LARGEST;
/// The driver's codes for an image that it cannot use.
const IMAGE_REFUSED: [i32; 5] = [200, 209, 218, 222, 300];

/// An entry point, ready to be launched, with its tile and launch sizes.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    pub(super) raw: CUfunction,
    pub(crate) instance: &'static Instance,
}

// SAFETY: a function's handle may be used from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// All modules of one device.
pub(crate) struct Modules {
    device: Arc<Device>,
    images: Images,
    /// In the order of `instances::all`.
    functions: Vec<OnceLock<Function>>,
    /// Held while a module is being made, by one thread for all.
    loaded: Mutex<Vec<Module>>,
}

impl Modules {
    /// Finds what the kernels will be made from, so that a machine without it learns so
    /// at creation; makes none.
    pub(crate) fn new(device: &Arc<Device>) -> Result<Modules> {
        let images = Images::find(device.arch, device.driver.version())?;
        let functions = instances::all().iter().map(|_| OnceLock::new()).collect();
        Ok(Modules { device: device.clone(), images, functions, loaded: Mutex::new(Vec::new()) })
    }

    /// Whether the kernel of an instance can be made for this device.
    pub(crate) fn can_make(&self, instance: &'static Instance) -> bool {
        self.images.can_make(&Unit::of(instance))
    }

    /// The kernel of an instance. Its first use makes and loads its module, which can take
    /// a second; that is refused while `stream` is being captured.
    pub(crate) fn get(
        &self,
        entered: &Entered<'_>,
        stream: Stream,
        instance: &'static Instance,
    ) -> Result<Function> {
        let index = index(instance);
        let slot = self.functions.get(index).ok_or_else(|| unknown(instance))?;
        if let Some(function) = slot.get() {
            return Ok(*function);
        }
        if entered.is_capturing(stream)? != CaptureState::None {
            return Err(Error::GraphCapture(format!(
                "stream is being captured, and the kernel {} is not loaded yet: make the same call once outside \
                 of the capture first",
                instance.symbol()
            )));
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.get().is_none() {
            check_room_of(MAKING, "making kernels")?;
            let unit = Unit::of(instance);
            let module = self.load(entered, &unit)?;
            let mut functions = Vec::new();
            for (other, member) in instances::all().iter().enumerate() {
                if unit.has(member) && (other == index || member.shared <= self.device.max_shared) {
                    functions.push((other, self.function(entered, &module, member)?));
                }
            }
            // Only now: where one fails, the module goes and its functions with it.
            loaded.push(module);
            for (other, function) in functions {
                let _ = self.functions[other].set(function);
            }
        }
        slot.get().copied().ok_or_else(|| unknown(instance))
    }

    fn load(&self, entered: &Entered<'_>, unit: &Unit) -> Result<Module> {
        let image = self.images.get(unit)?;
        match self.load_image(entered, unit, &image) {
            Err(Error::Architecture(_)) if image.is_from_disk => {
                self.load_image(entered, unit, &self.images.make_again(unit)?)
            }
            result => result,
        }
    }

    fn load_image(&self, entered: &Entered<'_>, unit: &Unit, image: &Image) -> Result<Module> {
        let _relaxed = entered.relaxed()?;
        let mut raw: CUmodule = std::ptr::null_mut();
        // SAFETY: a cubin, or PTX that ends in NUL; the driver copies what it needs.
        let code = unsafe { (self.device.driver.cuModuleLoadData)(&mut raw, image.bytes.as_ptr().cast()) };
        if IMAGE_REFUSED.contains(&code) {
            return Err(Error::Architecture(format!(
                "the driver cannot use the kernels {} for sm_{}, made by {}: {}; install a newer driver, or an \
                 NVRTC no newer than the driver",
                unit.name(),
                self.device.arch,
                image.origin,
                self.device.driver.describe(code)
            )));
        }
        self.device.check_named(code, || format!("cuModuleLoadData: {}", unit.name()))?;
        Ok(Module { device: self.device.clone(), raw })
    }

    fn function(
        &self,
        entered: &Entered<'_>,
        module: &Module,
        instance: &'static Instance,
    ) -> Result<Function> {
        let Device { driver, max_shared, ordinal, .. } = *self.device;
        if instance.shared > max_shared {
            return Err(Error::Architecture(format!(
                "{} needs {} bytes of shared memory a block; device {ordinal} has {max_shared}",
                instance.symbol(),
                instance.shared
            )));
        }
        let symbol = CString::new(instance.symbol()).map_err(|_| unknown(instance))?;
        let _relaxed = entered.relaxed()?;
        let mut raw: CUfunction = std::ptr::null_mut();
        // SAFETY: writes one handle, which lives as long as the module.
        let code = unsafe { (driver.cuModuleGetFunction)(&mut raw, module.raw, symbol.as_ptr()) };
        self.device.check_named(code, || format!("cuModuleGetFunction: {}", instance.symbol()))?;
        if instance.shared > SHARED_WITHOUT_ASKING {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as i32;
            // SAFETY: the function exists.
            let code = unsafe { (driver.cuFuncSetAttribute)(raw, attribute, instance.shared as i32) };
            self.device.check_named(code, || {
                format!(
                    "cuFuncSetAttribute: {} bytes of shared memory for {}",
                    instance.shared,
                    instance.symbol()
                )
            })?;
        }
        // Drivers load kernels lazily; a launch during a capture would be too late.
        if let Some(load) = driver.cuFuncLoad {
            // SAFETY: the function exists.
            self.device.check_named(unsafe { load(raw) }, || format!("cuFuncLoad: {}", instance.symbol()))?;
        }
        Ok(Function { raw, instance })
    }
}

struct Module {
    device: Arc<Device>,
    raw: CUmodule,
}

// SAFETY: a module's handle may be used from any thread.
unsafe impl Send for Module {}

impl Drop for Module {
    fn drop(&mut self) {
        if let Ok(entered) = self.device.enter_anyway() {
            let _relaxed = entered.relaxed();
            // SAFETY: loaded in `Modules::load`; an error here leaves nothing to do.
            let _ = unsafe { (self.device.driver.cuModuleUnload)(self.raw) };
        }
    }
}

/// Where an instance stands in the list, which it is part of.
fn index(instance: &'static Instance) -> usize {
    let list = instances::all();
    (std::ptr::from_ref(instance) as usize - list.as_ptr() as usize) / size_of::<Instance>()
}

fn unknown(instance: &Instance) -> Error {
    Error::Panic(format!("the module of {} does not hold it", instance.symbol()))
}
