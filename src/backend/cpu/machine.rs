//! Which instruction set a process uses: the best there is, or the one that the
//! environment names.

use super::kernels::{Kernels, portable_f32, portable_f64};
#[cfg(target_arch = "x86_64")]
use super::kernels::{avx2_f32, avx2_f64, avx512_f32, avx512_f64};
#[cfg(target_arch = "x86_64")]
use super::pairs;
use crate::error::{Error, Result};

/// The tables that this process uses.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) f32: &'static Kernels<f32>,
    pub(crate) f64: &'static Kernels<f64>,
}

/// AVX-512 with its products of bfloat16.
#[cfg(target_arch = "x86_64")]
static AVX512_BF16: Kernels<f32> =
    Kernels { name: "avx512_bf16", pairs: Some(pairs::AVX512), ..avx512_f32::TABLE };

/// Names an instruction set to use instead of the best.
const CHOICE: &str = "SAMPLED_SOFTMAX_ISA";

impl Machine {
    /// The best instruction set of this machine, or the one that the environment names.
    pub(crate) fn detect() -> Result<Machine> {
        let machines = Machine::all();
        let Ok(choice) = std::env::var(CHOICE) else {
            return Ok(machines[0].expect("the portable one is always there"));
        };
        machines.into_iter().flatten().find(|machine| machine.f32.name == choice).ok_or_else(|| {
            let names: Vec<&str> = machines.iter().flatten().map(|machine| machine.f32.name).collect();
            Error::InvalidValue(format!("{CHOICE}={choice}: this machine has {}", names.join(", ")))
        })
    }

    /// All that this machine can run, best first.
    pub(crate) fn all() -> [Option<Machine>; 4] {
        let portable = Some(Machine { f32: &portable_f32::TABLE, f64: &portable_f64::TABLE });
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f");
            let pairs = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
            let mut machines = [
                (avx512 && pairs).then_some(Machine { f32: &AVX512_BF16, f64: &avx512_f64::TABLE }),
                avx512.then_some(Machine { f32: &avx512_f32::TABLE, f64: &avx512_f64::TABLE }),
                avx2.then_some(Machine { f32: &avx2_f32::TABLE, f64: &avx2_f64::TABLE }),
                portable,
            ];
            machines.sort_by_key(Option::is_none);
            machines
        }
        #[cfg(not(target_arch = "x86_64"))]
        [portable, None, None, None]
    }
}
