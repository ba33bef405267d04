//! Where a module's machine code comes from: compiled into this library, compiled before
//! by this process or one that left it in the cache on disk, or compiled now by NVRTC.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::{Cache, Key};
use super::libraries::{self, Places};
use super::nvrtc::{self, Nvrtc, Target};
use super::sources::Unit;
use crate::error::{Error, Result};

/// The sources, by the names they include one another by.
const HEADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/kernel_headers.rs"));

/// Machine code made when this library was built: architecture, whether it is PTX, module,
/// maker, bytes. Empty without the feature `aot`.
type Compiled = (u32, bool, &'static str, &'static str, &'static [u8]);
const COMPILED: &[Compiled] = include!(concat!(env!("OUT_DIR"), "/kernel_images.rs"));

/// Machine code of one module.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// A cubin, or PTX that ends in NUL.
    pub(crate) bytes: Arc<[u8]>,
    /// What made it, for messages.
    pub(crate) origin: String,
    /// Whether it was compiled earlier, by whatever then called itself the same NVRTC.
    pub(crate) is_from_disk: bool,
}

/// The images for one architecture.
pub(crate) struct Images {
    arch: u32,
    table: &'static [Compiled],
    compiler: Result<Compiler>,
}

/// What this process has: bytes, and whether they were on disk.
type Made = HashMap<Key, (Arc<[u8]>, bool)>;

struct Compiler {
    nvrtc: &'static Nvrtc,
    target: Target,
    cache: Option<Cache>,
}

impl Images {
    /// What makes images for `arch` under a driver of CUDA version `driver`. An error if
    /// nothing does.
    pub(crate) fn find(arch: u32, driver: i32) -> Result<Images> {
        let places = Places::of_process(Some("SAMPLED_SOFTMAX_NVRTC"));
        Images::with(arch, driver, &places, Cache::of_user(), COMPILED)
    }

    fn with(
        arch: u32,
        driver: i32,
        places: &Places,
        cache: Option<Cache>,
        table: &'static [Compiled],
    ) -> Result<Images> {
        let compiler = match choose(arch, driver, places) {
            Ok((nvrtc, target)) => Ok(Compiler { nvrtc, target, cache }),
            Err(reason) => Err(Error::NoBackend(reason + &passed_over(cache.as_ref()))),
        };
        match compiler {
            Err(error) if compiled(table, arch, &Unit::Small.name()).is_none() => Err(error),
            compiler => Ok(Images { arch, table, compiler }),
        }
    }

    /// The image of one module; can take seconds where it has to be compiled.
    pub(crate) fn get(&self, unit: &Unit) -> Result<Image> {
        if let Some(image) = compiled(self.table, self.arch, &unit.name()) {
            return Ok(image);
        }
        match &self.compiler {
            Ok(compiler) => compiler.get(unit, true),
            Err(error) => Err(Error::NoBackend(error.to_string())),
        }
    }

    /// Whether there is something to make a module from.
    pub(crate) fn can_make(&self, unit: &Unit) -> bool {
        let made = compiled(self.table, self.arch, &unit.name()).is_some();
        let compiles = |compiler: &Compiler| compiler.target.narrowed(unit.is_specific()).is_some();
        made || self.compiler.as_ref().is_ok_and(compiles)
    }

    /// The image compiled anew, in place of one from disk that the driver refused.
    pub(crate) fn make_again(&self, unit: &Unit) -> Result<Image> {
        match &self.compiler {
            Ok(compiler) => compiler.get(unit, false),
            Err(error) => Err(Error::NoBackend(error.to_string())),
        }
    }
}

impl Compiler {
    /// The image of one module; what was made before serves if `earlier`.
    fn get(&self, unit: &Unit, earlier: bool) -> Result<Image> {
        let source = unit.source(HEADERS).map_err(Error::Panic)?;
        let target = self.target.narrowed(unit.is_specific()).ok_or_else(|| {
            Error::Architecture(format!(
                "kernels {}: {} makes no code for this device alone",
                unit.name(),
                self.nvrtc
            ))
        })?;
        let key = self.key(&source, target);
        let image = |(bytes, is_from_disk)| Image { bytes, origin: self.nvrtc.to_string(), is_from_disk };

        // Held while compiling: of several handles that want the same, one compiles.
        static MADE: Mutex<Option<Made>> = Mutex::new(None);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.get_or_insert_default();
        if let Some(found) = made.get(&key).filter(|(_, is_from_disk)| earlier || !is_from_disk) {
            return Ok(image(found.clone()));
        }
        let from_disk = self.cache.as_ref().filter(|_| earlier).and_then(|cache| cache.load(&key));
        let is_from_disk = from_disk.is_some();
        let bytes = match from_disk {
            Some(bytes) => bytes,
            None => self.compile(unit, &source, target, &key)?,
        };
        made.insert(key, (bytes.into(), is_from_disk));
        Ok(image(made[&key].clone()))
    }

    fn compile(&self, unit: &Unit, source: &str, target: Target, key: &Key) -> Result<Vec<u8>> {
        let compiled = self.nvrtc.compile(source, HEADERS, target);
        let bytes = compiled.map_err(|error| {
            let passed_over = passed_over(self.cache.as_ref());
            Error::NoBackend(format!("kernels {}: {error}{passed_over}", unit.name()))
        })?;
        if let Some(cache) = &self.cache {
            cache.store(key, &bytes);
        }
        Ok(bytes)
    }

    fn key(&self, source: &str, target: Target) -> Key {
        let (major, minor) = self.nvrtc.version;
        let version = format!("{major}.{minor}");
        let options = target.options().join(" ");
        let parts = [version.as_str(), &options, source].into_iter();
        Key::of(parts.chain(HEADERS.iter().flat_map(|(name, text)| [*name, *text])))
    }
}

/// What an error adds where there is a cache that cannot be trusted.
fn passed_over(cache: Option<&Cache>) -> String {
    match cache.map(Cache::trusted) {
        Some(Err(Some(reason))) => format!(" (passed over: {reason})"),
        _ => String::new(),
    }
}

/// The image in a table that suits `arch` best: its own, else machine code of an earlier
/// minor version, else PTX of an earlier architecture.
fn compiled(table: &[Compiled], arch: u32, unit: &str) -> Option<Image> {
    let suits = |&&(made_for, is_ptx, name, ..): &&Compiled| {
        name == unit && made_for <= arch && (is_ptx || made_for / 10 == arch / 10)
    };
    let best = table.iter().filter(suits).max_by_key(|(made_for, is_ptx, ..)| (!is_ptx, *made_for));
    best.map(|(.., maker, bytes)| Image {
        bytes: (*bytes).into(),
        origin: (*maker).into(),
        is_from_disk: false,
    })
}

/// The first NVRTC that makes code for `arch`, of the versions the driver knows if there
/// is one; machine code rather than PTX.
fn choose(arch: u32, driver: i32, places: &Places) -> std::result::Result<(&'static Nvrtc, Target), String> {
    let mut reasons = Vec::new();
    for major in libraries::majors(driver) {
        let mut translated = None;
        for path in places.candidates("libnvrtc", major) {
            match open(&path).and_then(|nvrtc| Ok((nvrtc, nvrtc.target(arch)?))) {
                Ok((nvrtc, target @ Target::Cubin(_))) => return Ok((nvrtc, target)),
                Ok(ptx) => translated = translated.or(Some(ptx)),
                // A bare name that the loader does not know is the usual case.
                Err(_) if path.parent() == Some(Path::new("")) && places.file.is_none() => {}
                Err(reason) => reasons.push(reason),
            }
        }
        if let Some(found) = translated {
            return Ok(found);
        }
    }
    reasons.dedup();
    let mut text = format!("backend = 1: there is nothing to make the kernels for sm_{arch} from: ");
    match reasons.is_empty() {
        true => text.push_str("NVRTC (libnvrtc.so.13 or .12) was not found"),
        false => text.push_str(&reasons.join("; ")),
    }
    let _ = write!(
        text,
        ". Install NVRTC (pip install nvidia-cuda-nvrtc, or a CUDA toolkit) or name its file in \
         SAMPLED_SOFTMAX_NVRTC; or use a build of this library that holds compiled kernels (cargo build \
         --release --features aot)"
    );
    Err(text)
}

/// Opens each NVRTC once in a process.
fn open(path: &Path) -> std::result::Result<&'static Nvrtc, String> {
    static OPEN: Mutex<Vec<(PathBuf, &'static Nvrtc)>> = Mutex::new(Vec::new());
    let mut list = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, nvrtc)) = list.iter().find(|(other, _)| other == path) {
        return Ok(*nvrtc);
    }
    let nvrtc: &'static Nvrtc = Box::leak(Box::new(Nvrtc::open(path)?));
    // The loader may have found it in a folder that it forgets for the second library.
    for file in libraries::mapped() {
        let is_nvrtc =
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc.so."));
        if let Some(folder) = file.parent().filter(|_| is_nvrtc) {
            nvrtc::open_builtins(folder);
        }
    }
    list.push((path.into(), nvrtc));
    Ok(nvrtc)
}

#[cfg(test)]
#[path = "images_tests.rs"]
mod tests;
