//! Calls of the whole C ABI from a stream of bytes, and the rules that their answers and
//! their writes must keep: no crash, no hang, nothing written but the outputs, a documented
//! status with a message that names the argument.
//!
//! ```text
//! bytes -> choices -> session   handles and calls in any order
//!                       config    configurations
//!                       step      arguments: form (structs), array, contents
//!                       plain     calls without a handle
//!                     rules     what is wrong with a call, what it may write; sizes, values, update
//!                     results   what it wrote, beside the float64 reference
//! memory   guarded and watched          faults, counts   answers, right or wrong
//! ```
#![allow(unreachable_pub, dead_code)]

mod array;
pub mod choices;
mod config;
mod contents;
pub mod counts;
mod faults;
mod form;
mod memory;
mod plain;
mod results;
mod rules;
mod session;
mod sizes;
mod step;
mod update;
mod values;

pub use session::Session;
