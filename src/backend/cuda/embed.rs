//! Part of the build script: what of the kernels goes into the library. Always their
//! sources; with the feature `aot` also their machine code, so that a machine without
//! NVRTC can run them:
//!
//! ```text
//! SAMPLED_SOFTMAX_NVRTC=/path/to/libnvrtc.so.12 cargo build --release --features aot
//! ```
//!
//! SAMPLED_SOFTMAX_ARCHS says for which architectures. The oldest NVRTC that knows them all
//! is the best one: an older driver can load what it makes.

#[cfg(feature = "aot")]
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

#[allow(dead_code)]
mod instances;
#[cfg(feature = "aot")]
#[allow(dead_code)]
mod nvrtc;
#[allow(dead_code)]
mod sources;

/// Where SAMPLED_SOFTMAX_ARCHS says nothing. Code for 8.6 runs on 8.9 too, and so on
/// within a major version; the last also as PTX, for what comes.
#[cfg(feature = "aot")]
const ARCHS: &str = "75,80,86,89,90,100,120";

/// Writes kernel_headers.rs and kernel_images.rs into `out`.
pub(crate) fn write(root: &Path, out: &Path) {
    let kernels = root.join("kernels");
    for variable in ["SAMPLED_SOFTMAX_NVRTC", "SAMPLED_SOFTMAX_ARCHS"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed={}", kernels.display());

    let mut files = Vec::new();
    collect(&kernels, &mut files);
    files.sort();
    let headers: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|path| (path.strip_prefix(&kernels).expect("inside kernels/").to_string_lossy().into(), path))
        .collect();
    let mut list = String::from("&[\n");
    for (name, path) in &headers {
        writeln!(list, "    ({name:?}, include_str!({path:?})),").expect("a string takes it");
    }
    list.push_str("]\n");
    fs::write(out.join("kernel_headers.rs"), list).expect("OUT_DIR is writable");
    fs::write(out.join("kernel_images.rs"), images(&headers, out)).expect("OUT_DIR is writable");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("kernels/ is there") {
        let path = entry.expect("kernels/ is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "cuh") {
            files.push(path);
        }
    }
}

#[cfg(not(feature = "aot"))]
fn images(_: &[(String, PathBuf)], _: &Path) -> String {
    "&[]\n".into()
}

/// The table of images as Rust: architecture, whether PTX, module, maker, bytes.
#[cfg(feature = "aot")]
fn images(headers: &[(String, PathBuf)], out: &Path) -> String {
    use nvrtc::{Nvrtc, Target};

    let path = env::var("SAMPLED_SOFTMAX_NVRTC")
        .expect("feature aot: SAMPLED_SOFTMAX_NVRTC names the libnvrtc.so to compile the kernels with");
    let nvrtc = Nvrtc::open(Path::new(&path)).expect("feature aot: SAMPLED_SOFTMAX_NVRTC is an NVRTC");
    let archs = env::var("SAMPLED_SOFTMAX_ARCHS").unwrap_or_else(|_| ARCHS.into());
    let mut targets: Vec<Target> = archs
        .split(',')
        .map(|arch| Target::Cubin(arch.trim().parse().expect("SAMPLED_SOFTMAX_ARCHS: numbers such as 80,90")))
        .collect();
    if let Some(Target::Cubin(newest)) = targets.last().copied() {
        targets.push(Target::Ptx(newest));
    }
    let texts: Vec<(String, String)> = headers
        .iter()
        .map(|(name, path)| (name.clone(), fs::read_to_string(path).expect("kernels/ is readable")))
        .collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();

    let mut table = String::from("&[\n");
    for target in targets {
        let (arch, is_ptx) = match target {
            Target::Cubin(arch) | Target::Specific(arch) => (arch, false),
            Target::Ptx(arch) => (arch, true),
        };
        for unit in sources::units().into_iter().filter(|unit| unit.runs_on(arch)) {
            let Some(target) = target.narrowed(unit.is_specific()) else { continue };
            let source = unit.source(&texts).expect("every kernel has its header");
            let image = nvrtc.compile(&source, &texts, target).unwrap_or_else(|error| panic!("{error}"));
            let file = out.join(format!("{}_{target}", unit.name()));
            fs::write(&file, image).expect("OUT_DIR is writable");
            let maker = format!("NVRTC {}.{} at build time", nvrtc.version.0, nvrtc.version.1);
            let name = unit.name();
            writeln!(table, "    ({arch}, {is_ptx}, {name:?}, {maker:?}, include_bytes!({file:?})),")
                .expect("a string takes it");
        }
    }
    table.push_str("]\n");
    table
}
