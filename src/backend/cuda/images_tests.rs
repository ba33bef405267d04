//! With a real NVRTC: the one that SAMPLED_SOFTMAX_NVRTC names, or one from a wheel
//! (nvidia-cuda-nvrtc) in any environment under build/.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::backend::cuda::{instances, sources};

const CUDA_13: i32 = 13_000;

fn is_complete_run() -> bool {
    std::env::var_os("SAMPLED_SOFTMAX_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// Where a real NVRTC is; none: the test counts as not run.
fn real() -> Option<Places> {
    let named = std::env::var_os("SAMPLED_SOFTMAX_NVRTC").map(PathBuf::from);
    let places = Places { folders: environments(), ..Places::default() };
    // Not by its bare name, which may lead to the emulator's.
    let mut files = [13, 12]
        .into_iter()
        .flat_map(|major| places.candidates("libnvrtc", major))
        .filter(|file| file.is_absolute());
    if let Some(file) = named.or(files.next()) {
        return Some(Places { file: Some(file), ..Places::default() });
    }
    assert!(!is_complete_run(), "no NVRTC under build/: pip install --target build/nvrtc nvidia-cuda-nvrtc");
    eprintln!("NOT RUN: no NVRTC under build/; pip install --target build/nvrtc nvidia-cuda-nvrtc");
    None
}

/// The folders of packages under build/.
fn environments() -> Vec<PathBuf> {
    let listed = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut roots = listed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("build"));
    roots.retain(|root| !root.to_string_lossy().contains("build/emu"));
    let sites =
        roots.iter().flat_map(|root| listed(&root.join("lib"))).map(|python| python.join("site-packages"));
    let sites: Vec<PathBuf> = sites.collect();
    roots.into_iter().chain(sites).collect()
}

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sampled-softmax-images-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

const SOURCE: &str =
    "#include \"in_memory.cuh\"\nextern \"C\" __global__ void kernel(float* x) { *x = VALUE; }\n";
const IN_MEMORY: &[(&str, &str)] = &[("in_memory.cuh", "#define VALUE 1.0f\n")];

#[test]
fn without_nvrtc_the_error_names_both_remedies() {
    let error =
        Images::with(90, CUDA_13, &Places { file: Some("/none".into()), ..Places::default() }, None, &[])
            .err()
            .expect("there is nothing at /none");
    assert_eq!(error.status(), crate::abi::SSL_STATUS_NO_BACKEND);
    let text = error.to_string();
    for part in ["sm_90", "/none", "pip install nvidia-cuda-nvrtc", "SAMPLED_SOFTMAX_NVRTC", "--features aot"]
    {
        assert!(text.contains(part), "{part} in: {text}");
    }
}

#[test]
fn an_error_tells_of_a_cache_that_was_passed_over() {
    let folder = temporary("passed-over");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let places = Places { file: Some("/none".into()), ..Places::default() };
    let cache = Some(Cache::at(folder.clone()));
    let text = Images::with(90, CUDA_13, &places, cache, &[]).err().expect("there is nothing").to_string();
    fs::remove_dir(&folder).unwrap();
    let expected = format!("(passed over: the kernel cache {} has mode 777", folder.display());
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn compiled_images_are_chosen_by_architecture() {
    const fn entry(arch: u32, is_ptx: bool, bytes: &'static str) -> Compiled {
        (arch, is_ptx, "small", "maker", bytes.as_bytes())
    }
    static TABLE: [Compiled; 4] = [
        entry(80, false, "cubin 80"),
        entry(86, false, "cubin 86"),
        entry(90, false, "cubin 90"),
        entry(90, true, "ptx 90"),
    ];
    let table = &TABLE[..];
    let chosen = |arch| compiled(table, arch, "small").map(|image| image.bytes.to_vec());
    assert_eq!(chosen(75), None);
    assert_eq!(chosen(80).as_deref(), Some(&b"cubin 80"[..]));
    assert_eq!(chosen(89).as_deref(), Some(&b"cubin 86"[..]));
    assert_eq!(chosen(90).as_deref(), Some(&b"cubin 90"[..]));
    assert_eq!(chosen(120).as_deref(), Some(&b"ptx 90"[..]));
    assert!(compiled(table, 90, "attend_Bf16_128_ONLINE").is_none());
    // With an image for the device, NVRTC may be absent.
    let nowhere = Places { file: Some("/none".into()), ..Places::default() };
    assert!(Images::with(90, CUDA_13, &nowhere, None, table).is_ok());
    assert!(Images::with(75, CUDA_13, &nowhere, None, table).is_err());
}

#[test]
fn a_driver_is_given_a_compiler_that_it_knows() {
    assert_eq!(libraries::majors(12_080), [12, 13]);
    assert_eq!(libraries::majors(13_000), [13, 12]);
    assert_eq!(libraries::majors(14_010), [13, 12]);
}

#[test]
fn nvrtc_makes_machine_code_and_ptx_from_headers_in_memory() {
    let Some(places) = real() else { return };
    let (nvrtc, target) = choose(90, CUDA_13, &places).unwrap();
    assert_eq!(target, Target::Cubin(90));
    let cubin = nvrtc.compile(SOURCE, IN_MEMORY, target).unwrap();
    assert_eq!(&cubin[..4], b"\x7fELF");
    assert_eq!(cubin, nvrtc.compile(SOURCE, IN_MEMORY, target).unwrap());
    let ptx = nvrtc.compile(SOURCE, IN_MEMORY, Target::Ptx(80)).unwrap();
    assert_eq!(ptx.last(), Some(&0));
    assert!(String::from_utf8_lossy(&ptx).contains(".entry kernel"));
}

#[test]
fn code_for_one_architecture_alone_is_no_ptx() {
    assert_eq!(Target::Cubin(90).narrowed(true), Some(Target::Specific(90)));
    assert_eq!(Target::Cubin(90).narrowed(false), Some(Target::Cubin(90)));
    assert_eq!(Target::Ptx(90).narrowed(true), None);
    assert_eq!(Target::Specific(90).options().last().unwrap(), "--gpu-architecture=sm_90a");
}

#[test]
fn a_device_newer_than_nvrtc_gets_ptx_and_one_too_old_is_refused() {
    let Some(places) = real() else { return };
    let (_, target) = choose(999, CUDA_13, &places).unwrap();
    assert!(matches!(target, Target::Ptx(arch) if arch >= 120), "{target}");
    let error = choose(10, CUDA_13, &places).err().expect("no NVRTC makes code for sm_10");
    assert!(error.to_string().contains("not for sm_10"), "{error}");
}

#[test]
fn a_source_that_does_not_compile_says_where() {
    let Some(places) = real() else { return };
    let (nvrtc, target) = choose(90, CUDA_13, &places).unwrap();
    let error = nvrtc.compile("__global__ void kernel() { nonsense; }", &[], target).unwrap_err();
    assert!(error.contains("\"nonsense\" is undefined") && error.contains("(6)"), "{error}");
    let error = nvrtc.compile("#include \"absent.cuh\"\n", IN_MEMORY, target).unwrap_err();
    assert!(error.contains("absent.cuh"), "{error}");
}

#[test]
fn the_second_process_takes_kernels_from_the_cache() {
    let Some(places) = real() else { return };
    let folder = temporary("cache");
    let images = || Images::with(80, CUDA_13, &places, Some(Cache::at(folder.clone())), &[]).unwrap();
    let unit = Unit::Small;
    let first = images().get(&unit).unwrap();
    assert_eq!(&first.bytes[..4], b"\x7fELF");
    let entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    // Of one process, the second handle shares the bytes.
    assert!(Arc::ptr_eq(&first.bytes, &images().get(&unit).unwrap().bytes));
    fs::remove_dir_all(&folder).unwrap();
}

/// All instances are compiled by the compile table; here one of each kernel, as they go to
/// a device with tensor cores and to one without.
#[test]
fn a_compiled_module_has_the_entry_points_of_its_instances() {
    let Some(places) = real() else { return };
    for (arch, count) in [(75, 4), (90, 6)] {
        let (nvrtc, target) = choose(arch, CUDA_13, &places).unwrap();
        let mut kernels = Vec::new();
        for unit in sources::units().into_iter().filter(|unit| unit.runs_on(arch)) {
            let members: Vec<_> = instances::all().iter().filter(|instance| unit.has(instance)).collect();
            if kernels.contains(&members[0].kernel) {
                continue;
            }
            kernels.push(members[0].kernel);
            let source = unit.source(HEADERS).unwrap();
            let image = nvrtc.compile(&source, HEADERS, target.narrowed(unit.is_specific()).unwrap());
            let image = image.unwrap_or_else(|error| panic!("{}: {error}", unit.name()));
            let symbols = String::from_utf8_lossy(&image);
            for instance in members {
                assert!(symbols.contains(&format!(".text.{}\0", instance.symbol())), "{}", instance.symbol());
            }
        }
        assert_eq!(kernels.len(), count, "{kernels:?}");
    }
}

#[cfg(feature = "aot")]
#[test]
fn every_module_was_compiled_ahead_for_every_architecture() {
    let mut archs: Vec<u32> = COMPILED.iter().map(|(arch, ..)| *arch).collect();
    archs.dedup();
    assert!(!archs.is_empty());
    let nowhere = Places { file: Some("/none".into()), ..Places::default() };
    for arch in archs {
        let images = Images::with(arch, CUDA_13, &nowhere, None, COMPILED).unwrap();
        for unit in sources::units().into_iter().filter(|unit| unit.runs_on(arch)) {
            let image = images.get(&unit).unwrap();
            assert!(image.bytes.starts_with(b"\x7fELF"), "{} for sm_{arch}", unit.name());
            assert!(image.origin.starts_with("NVRTC"), "{}", image.origin);
        }
    }
}
