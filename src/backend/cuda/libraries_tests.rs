use std::process;

use super::*;

/// A folder of this test's own with empty files in it, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[&str]) -> Folder {
        let root = env::temp_dir().join(format!("sampled-softmax-libraries-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&root);
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        Folder(root)
    }

    fn paths(&self, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| self.0.join(name)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What is tried after the bare name.
fn found(places: &Places, stem: &str, major: u32) -> Vec<PathBuf> {
    let mut candidates = places.candidates(stem, major);
    assert_eq!(candidates.remove(0), Path::new(&format!("{stem}.so.{major}")));
    candidates
}

#[test]
fn a_named_file_is_the_only_candidate() {
    let places =
        Places { file: Some("/mine.so".into()), folders: vec!["/usr/lib".into()], ..Places::default() };
    assert_eq!(places.candidates("libnvrtc", 13), [Path::new("/mine.so")]);
}

#[test]
fn wheels_are_found_beside_anything_that_came_from_their_folder() {
    let folder = Folder::new(
        "wheels",
        &[
            "site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.alt.so.12",
            "site-packages/torch/lib/libtorch.so",
            "site-packages/jaxlib/xla_extension.so",
            "elsewhere/libother.so",
        ],
    );
    for file in ["site-packages/torch/lib/libtorch.so", "site-packages/jaxlib/xla_extension.so"] {
        let places = Places { mapped: folder.paths(&[file]), ..Places::default() };
        assert_eq!(
            found(&places, "libnvrtc", 13),
            folder.paths(&["site-packages/nvidia/cu13/lib/libnvrtc.so.13"])
        );
        assert_eq!(
            found(&places, "libnvrtc", 12),
            folder.paths(&["site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"])
        );
    }
    let places = Places { mapped: folder.paths(&["elsewhere/libother.so"]), ..Places::default() };
    assert!(found(&places, "libnvrtc", 13).is_empty());
}

#[test]
fn folders_of_loaded_cuda_libraries_come_before_toolkits_and_those_before_listed_folders() {
    let folder = Folder::new(
        "order",
        &[
            "loaded/libcublas.so.13",
            "loaded/libcublasLt.so.13",
            "toolkit/lib64/libcublasLt.so.13",
            "site/nvidia/cu13/lib/libcublasLt.so.13",
            "plain/libcublasLt.so.13",
        ],
    );
    let places = Places {
        file: None,
        mapped: folder.paths(&["loaded/libcublas.so.13"]),
        toolkits: folder.paths(&["toolkit"]),
        folders: folder.paths(&["site", "plain"]),
    };
    let expected = [
        "loaded/libcublasLt.so.13",
        "toolkit/lib64/libcublasLt.so.13",
        "site/nvidia/cu13/lib/libcublasLt.so.13",
        "plain/libcublasLt.so.13",
    ];
    assert_eq!(found(&places, "libcublasLt", 13), folder.paths(&expected));
}

#[test]
fn files_mapped_into_this_process_are_listed_once_with_their_paths() {
    let files = mapped();
    assert!(
        files
            .iter()
            .any(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libc.so")))
    );
    assert!(files.iter().all(|file| file.is_absolute()));
    let distinct: HashSet<_> = files.iter().collect();
    assert_eq!(distinct.len(), files.len());
}
