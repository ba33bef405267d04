//! What is compiled: the kernels' headers, embedded, and the main source of each module.
//! Also part of the build script.

use super::instances::{self, Instance};

/// The kernels that are compiled one by one, because each takes seconds; all others are
/// small and go together.
const COMPILED_ALONE: [&str; 5] = ["logits", "attend", "product", "logits_wgmma", "attend_wgmma"];

/// What is compiled at once and becomes one module.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// One instance of a matrix kernel.
    Matrix(&'static Instance),
    /// All the others.
    Small,
}

impl Unit {
    /// The unit that holds an instance.
    pub(crate) fn of(instance: &'static Instance) -> Unit {
        if COMPILED_ALONE.contains(&instance.kernel) { Unit::Matrix(instance) } else { Unit::Small }
    }

    /// Whether it holds an instance.
    pub(crate) fn has(&self, instance: &'static Instance) -> bool {
        *self == Unit::of(instance)
    }

    /// Its name in messages and tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Unit::Matrix(instance) => instance.symbol(),
            Unit::Small => "small".into(),
        }
    }

    /// Whether its code is for one architecture and no later one.
    pub(crate) fn is_specific(&self) -> bool {
        matches!(self, Unit::Matrix(instance) if instance.is_wgmma())
    }

    /// Whether an architecture has what its kernels use: tensor cores begin with 8.0.
    #[cfg_attr(not(test), allow(dead_code))] // the build script's
    pub(crate) fn runs_on(&self, arch: u32) -> bool {
        match self {
            Unit::Matrix(instance) if instance.is_wgmma() => arch == 90,
            Unit::Matrix(instance) => arch >= 80 || instance.arguments.starts_with("Fma"),
            Unit::Small => true,
        }
    }

    /// The main source: the headers that define its kernels, and what instantiates them.
    /// `headers` are all there are.
    pub(crate) fn source(&self, headers: &[(&str, &str)]) -> Result<String, String> {
        let members = || instances::all().iter().filter(|instance| self.has(instance));
        let mut source = String::new();
        for instance in members() {
            let macro_name = format!("#define INSTANTIATE_{}(", instance.kernel);
            let (name, _) = headers
                .iter()
                .find(|(_, text)| text.contains(&macro_name))
                .ok_or_else(|| format!("no header of kernels/ has {macro_name}...)"))?;
            let include = format!("#include \"{name}\"\n");
            if !source.contains(&include) {
                source.push_str(&include);
            }
        }
        for Instance { kernel, arguments, .. } in members() {
            source.push_str(&format!("INSTANTIATE_{kernel}({arguments})\n"));
        }
        Ok(source)
    }
}

/// All there are.
#[cfg_attr(not(test), allow(dead_code))] // the build script's
pub(crate) fn units() -> Vec<Unit> {
    let mut units = vec![Unit::Small];
    units.extend(instances::all().iter().map(Unit::of).filter(|unit| *unit != Unit::Small));
    units
}
