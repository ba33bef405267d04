//! Against float64, under the emulator's cuBLASLt.

use half::{bf16, f16};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::*;
use crate::backend::cuda::emulated::emulated;
use crate::backend::cuda::pinned::{DeviceMemory, Pinned};

/// Numbers in (-1, 1) of few digits, which all three types hold exactly.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..count).map(|_| (random.next_u64() % 127) as f32 / 64.0 - 63.0 / 64.0).collect()
}

fn bytes(factors: Factors, values: &[f32]) -> Vec<u8> {
    match factors {
        Factors::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        Factors::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        Factors::Tf32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// The product and what it should be; the gaps between rows of `out` keep what they held.
fn check(device: &Arc<Device>, library: &CublasLt, product: &Product) -> Result<bool> {
    let Product { rows, depth, dim, a_stride, b_stride, out_stride, .. } = *product;
    let a_rows = if product.transposed { depth } else { rows };
    let (a, b) = (numbers(a_rows * a_stride, 1), numbers(depth * b_stride, 2));
    let before = numbers(rows * out_stride, 3);
    let parts = [bytes(product.factors, &a), bytes(product.factors, &b), bytes(Factors::Tf32, &before)];
    let host = Pinned::new(device, parts[2].len(), "test")?;
    let memories = parts.each_ref().map(|part| DeviceMemory::new(device, part.len(), "test").unwrap());
    let entered = device.enter()?;
    let stream = Stream::DEFAULT;
    for (part, memory) in parts.iter().zip(&memories) {
        // SAFETY: as long as the part; the copy is waited for.
        unsafe { entered.copy_to_device_async(memory.address(), part.as_ptr().cast(), part.len(), stream)? };
        entered.synchronize(stream)?;
    }
    let [a_at, b_at, out_at] = memories.each_ref().map(DeviceMemory::address);
    let operands = Operands { a: a_at, b: b_at, out: out_at, workspace: 0, workspace_bytes: 0 };
    // SAFETY: the memories have the product's sizes; it is waited for.
    let is_done = unsafe { library.multiply(&entered, product, &operands, stream)? };
    // SAFETY: as above.
    unsafe { entered.copy_to_host_async(host.data().cast(), out_at, parts[2].len(), stream)? };
    entered.synchronize(stream)?;
    // SAFETY: as long as `before`.
    let out = unsafe { std::slice::from_raw_parts(host.data().cast::<f32>(), before.len()) };
    for row in 0..rows {
        for column in 0..out_stride {
            let place = row * out_stride + column;
            if column >= dim || !is_done {
                assert_eq!(out[place], before[place], "row {row}, column {column} is not the product's");
                continue;
            }
            let a_of =
                |k: usize| if product.transposed { a[k * a_stride + row] } else { a[row * a_stride + k] };
            let sum: f64 = (0..depth).map(|k| f64::from(a_of(k)) * f64::from(b[k * b_stride + column])).sum();
            let expected = sum + if product.accumulate { f64::from(before[place]) } else { 0.0 };
            let error = (f64::from(out[place]) - expected).abs();
            assert!(
                error <= 1e-6 * depth as f64,
                "row {row}, column {column}: {} for {expected}",
                out[place]
            );
        }
    }
    Ok(is_done)
}

fn product(factors: Factors, transposed: bool, accumulate: bool) -> Product {
    let (rows, depth, dim) = (13, 37, 24);
    let a_stride = if transposed { 16 } else { 40 };
    Product { factors, transposed, accumulate, rows, depth, dim, a_stride, b_stride: 32, out_stride: 28 }
}

#[test]
fn both_products_are_those_of_float64() {
    emulated(both_products_are_those_of_float64, "all", &[], || {
        let device = Device::open(0).unwrap();
        let library = CublasLt::open(&device).expect("the emulator has a cuBLASLt");
        for factors in [Factors::Bf16, Factors::F16, Factors::Tf32] {
            for transposed in [false, true] {
                for accumulate in [false, true] {
                    let product = product(factors, transposed, accumulate);
                    assert!(check(&device, &library, &product).unwrap(), "{product:?}");
                    assert!(check(&device, &library, &product).unwrap(), "{product:?} again");
                }
            }
        }
        assert_eq!(library.plans.lock().unwrap().len(), 12);
    });
}

#[test]
fn a_product_without_an_algorithm_is_left_to_others() {
    let test = a_product_without_an_algorithm_is_left_to_others;
    emulated(test, "all", &[("FAKE_CUBLASLT_NONE", "1")], || {
        let device = Device::open(0).unwrap();
        let library = CublasLt::open(&device).unwrap();
        assert!(!check(&device, &library, &product(Factors::Bf16, true, true)).unwrap());
    });
}

#[test]
fn an_absent_library_is_no_error() {
    emulated(an_absent_library_is_no_error, "all", &[("SAMPLED_SOFTMAX_CUBLASLT", "/none")], || {
        assert!(CublasLt::open(&Device::open(0).unwrap()).is_none());
    });
}

#[test]
fn alignment_is_that_of_the_address_up_to_256() {
    assert_eq!([0x10, 0x100, 0x700, 0x2, 0].map(alignment), [16, 256, 256, 2, 256]);
}
