//! Where NVRTC and cuBLASLt may lie: in a toolkit, or in the wheels that PyTorch and JAX
//! bring, whose folders no loader knows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The places to look in, most wanted first.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The file to use, and no other.
    pub(crate) file: Option<PathBuf>,
    /// Files mapped into this process: a CUDA library is best taken from where another
    /// one already came from.
    pub(crate) mapped: Vec<PathBuf>,
    /// Toolkits.
    pub(crate) toolkits: Vec<PathBuf>,
    /// Further folders, such as Python's site-packages.
    pub(crate) folders: Vec<PathBuf>,
}

impl Places {
    /// Those of this process. `variable` names a file to use.
    pub(crate) fn of_process(variable: Option<&str>) -> Places {
        let paths = |name: &str| -> Vec<PathBuf> {
            env::var_os(name).map(|value| env::split_paths(&value).collect()).unwrap_or_default()
        };
        let mut toolkits: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"]
            .into_iter()
            .flat_map(paths)
            .filter(|path| path.is_absolute())
            .collect();
        toolkits.extend(listed(Path::new("/usr/local"), "cuda"));
        Places {
            file: variable.and_then(env::var_os).filter(|value| !value.is_empty()).map(PathBuf::from),
            mapped: mapped(),
            toolkits,
            folders: paths("SAMPLED_SOFTMAX_CUDA_PATH"),
        }
    }

    /// Paths and names to try for a library `stem` of major version `major`.
    pub(crate) fn candidates(&self, stem: &str, major: u32) -> Vec<PathBuf> {
        let name = format!("{stem}.so.{major}");
        if let Some(file) = &self.file {
            return vec![file.clone()];
        }
        let mut folders = Vec::new();
        for file in &self.mapped {
            if file.file_name().is_some_and(|name| is_cuda_library(&name.to_string_lossy())) {
                folders.extend(file.parent().map(Path::to_path_buf));
            }
            folders.extend(site_packages(file).iter().flat_map(|site| wheel_folders(site)));
        }
        for toolkit in &self.toolkits {
            folders.extend(
                ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]
                    .map(|lib| toolkit.join(lib)),
            );
        }
        for folder in &self.folders {
            folders.extend([folder.clone(), folder.join("lib64"), folder.join("lib")]);
            folders.extend(wheel_folders(folder));
        }
        let mut seen = HashSet::new();
        let files =
            folders.into_iter().filter(|folder| seen.insert(folder.clone())).map(|folder| folder.join(&name));
        std::iter::once(PathBuf::from(&name)).chain(files.filter(|file| file.is_file())).collect()
    }
}

/// Major versions to try for a driver of CUDA `version` (12090 for 12.9): those it knows,
/// newest first, then the newer ones.
pub(crate) fn majors(version: i32) -> [u32; 2] {
    if (1..13_000).contains(&version) { [12, 13] } else { [13, 12] }
}

/// Files mapped into this process, each once; none where the system does not say.
pub(crate) fn mapped() -> Vec<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut seen = HashSet::new();
    let files = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    files.filter(|file| file.contains(".so") && seen.insert(*file)).map(PathBuf::from).collect()
}

fn is_cuda_library(name: &str) -> bool {
    ["libnvrtc", "libcudart", "libcublas", "libcudnn", "libcusparse", "libnvJitLink"]
        .iter()
        .any(|stem| name.starts_with(stem))
}

/// The Python package folder that a file lies in.
fn site_packages(file: &Path) -> Option<&Path> {
    file.ancestors().find(|folder| {
        folder.file_name().is_some_and(|name| name == "site-packages" || name == "dist-packages")
    })
}

/// `nvidia/*/lib` in a folder of Python packages.
fn wheel_folders(site: &Path) -> Vec<PathBuf> {
    listed(&site.join("nvidia"), "").into_iter().map(|package| package.join("lib")).collect()
}

/// What a folder holds whose name begins with `prefix`, last name first, so that newer
/// versions come before older ones.
fn listed(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable_by(|first, second| second.cmp(first));
    paths
}

#[cfg(test)]
#[path = "libraries_tests.rs"]
mod tests;
