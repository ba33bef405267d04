//! The kernels by what they do, looked up once for a device: those that it has the
//! shared memory for.

use super::instances::{self, Instance};
use super::plan::{Arithmetic, Machine};
use crate::error::{Error, Result};

/// The matrix kernels of one arithmetic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) lse: &'static Instance,
    pub(super) probabilities: &'static Instance,
    /// None in float16: what is stored before the log-sum-exp is known leaves its range.
    pub(super) exponentials: Option<&'static Instance>,
    pub(super) plain: &'static Instance,
    pub(super) transposed: &'static Instance,
    /// For each of `WIDTHS`, where the device can run it.
    pub(super) attend: [Option<Attend>; 3],
}

/// The two forms of `attend` for one width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attend {
    pub(super) online: &'static Instance,
    pub(super) known: &'static Instance,
}

/// Widths of the kernels that keep a whole row of the result in registers.
pub(super) const WIDTHS: [usize; 3] = [64, 128, 256];

impl Family {
    pub(super) fn of(arithmetic: Arithmetic, machine: &Machine) -> Result<Family> {
        let name = arithmetic.name();
        let matrix = |kernel, form| find(kernel, &format!("{name}, {form}"), machine);
        let logits = |form| match matrix("logits_wgmma", form) {
            Ok(instance) if machine.wgmma => Ok(instance),
            _ => matrix("logits", form),
        };
        let attend_by = |kernel, width| {
            let form = |form| find(kernel, &format!("{name}, {width}, {form}"), machine).ok();
            Some(Attend { online: form("ONLINE")?, known: form("KNOWN")? })
        };
        let attend = |width| {
            let by_wgmma = if machine.wgmma { attend_by("attend_wgmma", width) } else { None };
            by_wgmma.or_else(|| attend_by("attend", width))
        };
        Ok(Family {
            lse: logits("LSE")?,
            probabilities: logits("PROBABILITIES")?,
            exponentials: match arithmetic {
                Arithmetic::F16 => None,
                _ => Some(logits("EXPONENTIALS")?),
            },
            plain: matrix("product", "PLAIN")?,
            transposed: matrix("product", "TRANSPOSED")?,
            attend: WIDTHS.map(attend),
        })
    }
}

fn find(kernel: &str, arguments: &str, machine: &Machine) -> Result<&'static Instance> {
    match instances::find(kernel, arguments) {
        Some(instance) if instance.shared <= machine.max_shared => Ok(instance),
        Some(instance) => Err(Error::Architecture(format!(
            "{} needs {} bytes of shared memory a block, but the device has {}",
            instance.symbol(),
            instance.shared,
            machine.max_shared
        ))),
        None => Err(Error::Architecture(format!("there is no kernel {kernel}<{arguments}>"))),
    }
}

/// Declares the small kernels, each by its own name.
macro_rules! small {
    ($($name:ident,)*) => {
        /// The small kernels; how each is launched stands at the top of its file.
        #[derive(Clone, Copy, Debug)]
        pub(super) struct Small {
            $(pub(super) $name: &'static Instance,)*
        }

        impl Small {
            pub(super) fn new(machine: &Machine) -> Result<Small> {
                Ok(Small { $($name: find(stringify!($name), "", machine)?,)* })
            }
        }
    };
}

small! {
    begin, draw_keys, draw_firsts, draw_ids, sort_block, sort_step, sort_merge, prepare, pack, finish_rows, factors, shares,
    add_sums, true_counts, merge_rows,
    update_rows,
}

/// All kernels of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Catalogue {
    pub(super) small: Small,
    families: [Option<Family>; Arithmetic::ALL.len()],
}

impl Catalogue {
    pub(super) fn new(machine: &Machine) -> Result<Catalogue> {
        let mut families = [None; Arithmetic::ALL.len()];
        for (family, arithmetic) in families.iter_mut().zip(Arithmetic::ALL) {
            if machine.runs(arithmetic) {
                *family = Some(Family::of(arithmetic, machine)?);
            }
        }
        Ok(Catalogue { small: Small::new(machine)?, families })
    }

    /// The matrix kernels of an arithmetic that the device runs.
    pub(super) fn family(&self, arithmetic: Arithmetic) -> Result<&Family> {
        let place = Arithmetic::ALL.iter().position(|&other| other == arithmetic);
        place.and_then(|place| self.families[place].as_ref()).ok_or_else(|| {
            Error::Architecture(format!("there are no kernels in {} for this device", arithmetic.name()))
        })
    }
}
