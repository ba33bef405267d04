//! What the tests of the C ABI share: losses to compute (`case`), the buffers and
//! structs of a call (`buffer`, `call`), how far a result may lie from the float64
//! reference (`tolerance`, `compare`), and a process of its own under the emulator (`emulated`, `driver`).
// Every test binary compiles this and uses its own part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod accuracy;
mod buffer;
mod call;
mod case;
mod class_sums;
mod compare;
pub mod drawing;
pub mod driver;
pub mod emulated;
mod handle;
mod outputs;
pub mod own_process;
mod statuses;
mod tolerance;
pub mod updating;

pub use accuracy::Accuracy;
pub use buffer::{Buffer, round, unit_roundoff};
pub use call::{Arguments, Call, KINDS, Kind, default_config};
pub use case::{Case, Gaps, Random, Types, Wanted};
pub use compare::{
    Worst, assert_close, assert_loss_matches_reference, assert_matches_reference,
    assert_matches_reference_within, central_differences, weight_gradients, worst_of,
};
pub use handle::{Failure, Handle, check, last_error};
pub use outputs::{Outputs, earlier};
pub use statuses::STATUSES;
pub use tolerance::Tolerances;

use sampled_softmax::abi::{SSL_DTYPE_BFLOAT16, SSL_DTYPE_FLOAT16, SSL_DTYPE_FLOAT32, SSL_DTYPE_FLOAT64};

pub const F32: u32 = SSL_DTYPE_FLOAT32;
pub const F16: u32 = SSL_DTYPE_FLOAT16;
pub const BF16: u32 = SSL_DTYPE_BFLOAT16;
pub const F64: u32 = SSL_DTYPE_FLOAT64;

/// What `SAMPLED_SOFTMAX_ISA` can be on this machine.
pub fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let present = |name: &str| match name {
        "avx512_bf16" => is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw"),
        "avx512" => is_x86_feature_detected!("avx512f"),
        "avx2" => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        _ => true,
    };
    #[cfg(not(target_arch = "x86_64"))]
    let present = |name: &str| name == "portable";
    ["avx512_bf16", "avx512", "avx2", "portable"].into_iter().filter(|name| present(name)).collect()
}
