//! Names the library's ABI (SONAME) and writes the C header into OUT_DIR, where a
//! test compares it with the committed one. `SAMPLED_SOFTMAX_UPDATE_HEADER=1` (which
//! `make header` sets) writes the committed one instead of leaving the tree alone. The
//! kernels are gathered by src/backend/cuda/embed.rs.

use std::path::Path;
use std::{env, fs};

#[path = "src/backend/cuda/embed.rs"]
mod embed;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let root = Path::new(&root);

    for input in ["build.rs", "cbindgen.toml", "src/abi.rs", "src/capi.rs", "src/header.h"] {
        println!("cargo:rerun-if-changed={input}");
    }
    println!("cargo:rerun-if-env-changed=SAMPLED_SOFTMAX_UPDATE_HEADER");
    embed::write(root, Path::new(&out));

    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let major = env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets the version");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsampled_softmax.so.{major}");
        // Threads of handles that were never destroyed, messages of threads that go on, and
        // what a CUDA graph calls when it is destroyed would run in code that dlclose took away.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }

    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let manual = fs::read_to_string(root.join("src/header.h")).expect("src/header.h is there");
    config.after_includes = Some(manual);
    let header = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/abi.rs"))
        .with_src(root.join("src/capi.rs"))
        .generate()
        .expect("abi.rs and capi.rs translate to C");

    let mut text = Vec::new();
    header.write(&mut text);
    // Rust's heading for the caller's duties reads the same in C without its marker.
    let text = String::from_utf8(text)
        .expect("the sources are UTF-8")
        .replace("// # Safety", "// The caller promises:");
    fs::write(Path::new(&out).join("sampled_softmax.h"), &text).expect("OUT_DIR is writable");
    if env::var_os("SAMPLED_SOFTMAX_UPDATE_HEADER").is_some() {
        fs::write(root.join("include/sampled_softmax.h"), &text).expect("include/ is writable");
    }
}
