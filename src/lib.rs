//! Sampled softmax loss, forward and backward, behind a C ABI.
//!
//! For N rows of inputs x, C classes with weights w and biases b, T labels a row and S
//! sampled classes of expected counts Q:
//!
//! ```text
//! z_true[n,t] = <x[n], w[labels[n,t]]> + b[labels[n,t]] - ln Q(labels[n,t])
//! z_samp[n,j] = <x[n], w[ids[j]]>      + b[ids[j]]      - ln Q(ids[j])
//! loss[n]     = logsumexp(z_true[n,:], z_samp[n,:]) - mean_t z_true[n,t]
//! ```
//!
//! A call enters at [`capi`], is turned into a checked plan by `args`, and runs on the
//! handle's sampler and backend:
//!
//! ```text
//! capi  ->  registry
//!       ->  args  ->  handle  ->  sampler
//!                         └-----> backend  ->  cpu
//! ```
//!
//! [`abi`] holds the C types, [`error`] every failure with its numbers, and
//! [`reference`] the same mathematics in plain float64, the oracle of every engine.

pub mod abi;
mod allocation;
mod args;
mod backend;
pub mod capi;
pub mod error;
mod float_environment;
mod handle;
pub mod labels;
mod math;
mod memory;
pub mod reference;
mod registry;
pub mod sampler;
mod vectorised;
