//! The kernels that exist, from `kernels/instances.def`: each with its tile, its threads
//! and its shared memory. The emulator and the compile check read the same list.

use std::sync::LazyLock;

/// One kernel, as compiled for one set of template arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// Name of the kernel.
    pub(super) kernel: &'static str,
    /// Template arguments as written, without parentheses; empty for the small kernels.
    pub(super) arguments: &'static str,
    /// Rows and columns that one block computes; items that it takes, in small kernels.
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) threads: u32,
    /// Dynamic shared memory, bytes.
    pub(super) shared: u32,
}

static INSTANCES: LazyLock<Vec<Instance>> = LazyLock::new(|| parse(LIST));

const LIST: &str = include_str!("../../../kernels/instances.def");

/// All of them, in the order of the list.
pub(super) fn all() -> &'static [Instance] {
    &INSTANCES
}

/// The instance of a kernel, if there is one.
pub(super) fn find(kernel: &str, arguments: &str) -> Option<&'static Instance> {
    all().iter().find(|instance| instance.kernel == kernel && instance.arguments == arguments)
}

impl Instance {
    /// Whether it is for compute capability 9.0 alone, compiled for sm_90a.
    pub(super) fn is_wgmma(&self) -> bool {
        self.kernel.ends_with("_wgmma")
    }

    /// The kernel's symbol, `attend_Bf16_128_ONLINE`.
    pub(super) fn symbol(&self) -> String {
        let arguments = self.arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty());
        arguments.fold(self.kernel.into(), |symbol, argument| symbol + "_" + argument)
    }
}

/// Reads `INSTANCE(kernel, (arguments), rows, cols, threads, shared)` lines. The list is
/// part of the library, so a line that does not read is a defect, which a test finds.
fn parse(list: &'static str) -> Vec<Instance> {
    list.lines().filter_map(|line| entry(line.trim().strip_prefix("INSTANCE(")?)).collect()
}

fn entry(text: &'static str) -> Option<Instance> {
    let (kernel, rest) = text.split_once(',')?;
    let (arguments, rest) = rest.split_once('(')?.1.split_once(')')?;
    let numbers = rest.split_once(')')?.0.split(',').filter_map(|number| number.trim().parse().ok());
    let numbers: Vec<u32> = numbers.collect();
    let &[rows, cols, threads, shared] = numbers.as_slice() else { return None };
    let (kernel, arguments) = (kernel.trim(), arguments.trim());
    Some(Instance { kernel, arguments, rows: rows as usize, cols: cols as usize, threads, shared })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read() {
        let lines = LIST.lines().filter(|line| line.trim_start().starts_with("INSTANCE(")).count();
        assert!(lines > 0);
        assert_eq!(all().len(), lines);
    }

    #[test]
    fn symbols_name_the_template_arguments() {
        let lines =
            "INSTANCE(attend, (Bf16, 128, ONLINE), 64, 32, 128, 49152)\nINSTANCE(rows, (), 1, 2, 3, 4)";
        let [attend, rows] = parse(lines).try_into().expect("two lines");
        assert_eq!((attend.symbol().as_str(), attend.rows, attend.cols), ("attend_Bf16_128_ONLINE", 64, 32));
        assert_eq!((attend.threads, attend.shared), (128, 49152));
        assert_eq!(rows.symbol(), "rows");
    }
}
