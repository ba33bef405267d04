//! NVIDIA's run-time compiler, opened by path. Also part of the build script, which
//! compiles ahead of time with it; so nothing of the crate is used here, and an error is
//! a text.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::{fmt, fs, ptr};

use libloading::Library;

type Program = *mut c_void;
type Code = c_int;
type SizeOf = unsafe extern "C" fn(Program, *mut usize) -> Code;
type BytesOf = unsafe extern "C" fn(Program, *mut c_char) -> Code;

/// Language of the kernels, and nothing that changes what they compute.
const FLAGS: [&str; 1] = ["--std=c++17"];

/// What to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Machine code for one architecture, 90 for sm_90.
    Cubin(u32),
    /// The same with what this architecture has and later ones have not, 90 for sm_90a.
    Specific(u32),
    /// Code that the driver translates itself, for an architecture newer than the compiler.
    Ptx(u32),
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Cubin(arch) => write!(out, "sm_{arch}"),
            Target::Specific(arch) => write!(out, "sm_{arch}a"),
            Target::Ptx(arch) => write!(out, "compute_{arch}"),
        }
    }
}

impl Target {
    /// For code that is `specific` to the architecture; none, if this compiler translates
    /// for another.
    pub(crate) fn narrowed(self, specific: bool) -> Option<Target> {
        match self {
            target if !specific => Some(target),
            Target::Cubin(arch) | Target::Specific(arch) => Some(Target::Specific(arch)),
            Target::Ptx(_) => None,
        }
    }

    /// All options of a compilation.
    pub(crate) fn options(self) -> Vec<String> {
        let arch = format!("--gpu-architecture={self}");
        FLAGS.iter().map(|flag| flag.to_string()).chain([arch]).collect()
    }
}

/// An open compiler; never closed.
pub(crate) struct Nvrtc {
    /// 13, 0 for 13.0.
    pub(crate) version: (i32, i32),
    /// The file or name it was opened by.
    pub(crate) path: PathBuf,
    /// Architectures it makes machine code for, ascending.
    archs: Vec<u32>,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Code,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code,
    destroy: unsafe extern "C" fn(*mut Program) -> Code,
    log_size: SizeOf,
    log: BytesOf,
    cubin_size: SizeOf,
    cubin: BytesOf,
    ptx_size: SizeOf,
    ptx: BytesOf,
    error: unsafe extern "C" fn(Code) -> *const c_char,
}

impl fmt::Display for Nvrtc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NVRTC {}.{} ({})", self.version.0, self.version.1, self.path.display())
    }
}

impl Nvrtc {
    /// Opens the compiler at `path`, or of that name where the system's loader finds it.
    pub(crate) fn open(path: &Path) -> Result<Nvrtc, String> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            open_builtins(folder);
        }
        // SAFETY: loading NVRTC runs its initialisers, which every user of it does.
        let library = unsafe { Library::new(path) }
            .map_err(|error| format!("{}: {}", path.display(), loader_says(&error)))?;
        let library = &*ManuallyDrop::new(library);
        let get = |name: &str| Symbol { library, name: name.into(), path };
        // SAFETY: these are the signatures of nvrtc.h.
        unsafe {
            let mut version = (0, 0);
            get("nvrtcVersion").function::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code>()?(
                &mut version.0,
                &mut version.1,
            );
            let mut count = 0;
            get("nvrtcGetNumSupportedArchs").function::<unsafe extern "C" fn(*mut c_int) -> Code>()?(
                &mut count,
            );
            let mut archs = vec![0; count.max(0) as usize];
            get("nvrtcGetSupportedArchs").function::<unsafe extern "C" fn(*mut c_int) -> Code>()?(
                archs.as_mut_ptr(),
            );
            archs.sort_unstable();
            Ok(Nvrtc {
                version,
                path: path.into(),
                archs: archs.into_iter().map(|arch| arch.max(0) as u32).collect(),
                create: get("nvrtcCreateProgram").function()?,
                compile: get("nvrtcCompileProgram").function()?,
                destroy: get("nvrtcDestroyProgram").function()?,
                log_size: get("nvrtcGetProgramLogSize").function()?,
                log: get("nvrtcGetProgramLog").function()?,
                cubin_size: get("nvrtcGetCUBINSize").function()?,
                cubin: get("nvrtcGetCUBIN").function()?,
                ptx_size: get("nvrtcGetPTXSize").function()?,
                ptx: get("nvrtcGetPTX").function()?,
                error: get("nvrtcGetErrorString").function()?,
            })
        }
    }

    /// What it can make that runs on `arch`: its machine code, or PTX of the newest older
    /// architecture.
    pub(crate) fn target(&self, arch: u32) -> Result<Target, String> {
        if self.archs.contains(&arch) {
            return Ok(Target::Cubin(arch));
        }
        let older = self.archs.iter().rev().find(|&&older| older < arch);
        older.map(|&older| Target::Ptx(older)).ok_or_else(|| {
            let oldest = self.archs.first().copied().unwrap_or_default();
            format!("{self} makes code for sm_{oldest} and later, not for sm_{arch}")
        })
    }

    /// Compiles `source`, whose includes are all among `headers` (name, text).
    pub(crate) fn compile(
        &self,
        source: &str,
        headers: &[(&str, &str)],
        target: Target,
    ) -> Result<Vec<u8>, String> {
        let source = text(source)?;
        let names = headers.iter().map(|(name, _)| text(name)).collect::<Result<Vec<_>, _>>()?;
        let texts = headers.iter().map(|(_, header)| text(header)).collect::<Result<Vec<_>, _>>()?;
        let options = target.options().iter().map(|option| text(option)).collect::<Result<Vec<_>, _>>()?;
        let [names, texts, options] = [&names, &texts, &options].map(|list| pointers(list));
        let mut program = OwnedProgram { nvrtc: self, raw: ptr::null_mut() };
        // SAFETY: NUL-terminated texts that outlive the calls; counts are those of the lists.
        unsafe {
            let code = (self.create)(
                &mut program.raw,
                source.as_ptr(),
                c"sampled_softmax.cu".as_ptr(),
                texts.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            );
            self.check("nvrtcCreateProgram", code)?;
            let code = (self.compile)(program.raw, options.len() as c_int, options.as_ptr());
            self.check("nvrtcCompileProgram", code).map_err(|error| format!("{error}\n{}", program.log()))?;
        }
        let (size, bytes) = match target {
            Target::Cubin(_) | Target::Specific(_) => (self.cubin_size, self.cubin),
            Target::Ptx(_) => (self.ptx_size, self.ptx),
        };
        program.output(size, bytes)
    }

    fn check(&self, call: &str, code: Code) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: NVRTC has a text for every number, unknown ones included.
        let meaning = unsafe { (self.error)(code) };
        let meaning = match meaning.is_null() {
            true => "unknown error".into(),
            // SAFETY: a string of NVRTC's.
            false => unsafe { CStr::from_ptr(meaning) }.to_string_lossy(),
        };
        Err(format!("{self}: {call}: {meaning} ({code})"))
    }
}

/// A function still to be fetched.
struct Symbol<'a> {
    library: &'a Library,
    name: String,
    path: &'a Path,
}

impl Symbol<'_> {
    /// # Safety
    /// `T` is the type of a pointer to it.
    unsafe fn function<T: Copy>(self) -> Result<T, String> {
        // SAFETY: the caller's promise; the library is never closed.
        let symbol = unsafe { self.library.get::<T>(self.name.as_str()) };
        symbol.map(|symbol| *symbol).map_err(|_| format!("{} has no {}", self.path.display(), self.name))
    }
}

struct OwnedProgram<'a> {
    nvrtc: &'a Nvrtc,
    raw: Program,
}

impl OwnedProgram<'_> {
    fn output(&self, size: SizeOf, bytes: BytesOf) -> Result<Vec<u8>, String> {
        let mut count = 0;
        // SAFETY: a compiled program; the buffer has the size that was asked for.
        unsafe {
            self.nvrtc.check("size of the output", size(self.raw, &mut count))?;
            let mut output = vec![0u8; count];
            self.nvrtc.check("output", bytes(self.raw, output.as_mut_ptr().cast()))?;
            Ok(output)
        }
    }

    /// The compiler's messages, as far as a reader of an error needs them.
    fn log(&self) -> String {
        let log = self.output(self.nvrtc.log_size, self.nvrtc.log).unwrap_or_default();
        String::from_utf8_lossy(&log).trim_end_matches('\0').trim().chars().take(2000).collect()
    }
}

impl Drop for OwnedProgram<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: created by `compile`.
            unsafe { (self.nvrtc.destroy)(&mut self.raw) };
        }
    }
}

/// NVRTC opens its second library by name when it first compiles, and does not find it
/// beside itself in every version; what is open already is found.
pub(crate) fn open_builtins(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so.") {
            // SAFETY: a library of data; one that does not open is not needed.
            if let Ok(library) = unsafe { Library::new(entry.path()) } {
                std::mem::forget(library);
            }
        }
    }
}

/// Why a library was not opened, in the system's words.
pub(crate) fn loader_says(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a source holds a NUL".into())
}

fn pointers(list: &[CString]) -> Vec<*const c_char> {
    list.iter().map(|text| text.as_ptr()).collect()
}
