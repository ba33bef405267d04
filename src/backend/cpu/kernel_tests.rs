//! Every instruction set that this machine has, against float64.

use half::bf16;

use super::gemm::{Left, Product};
use super::kernels::{Kernels, Logits, RowScale};
use super::machine::Machine;
use super::pairs::{Narrow, PairKernels, along};
use super::panels::Panels;
use super::simd::Real;

/// Numbers in [-1, 1) that follow from their place.
fn noise(place: usize) -> f64 {
    let bits = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn each_machine(test_f32: impl Fn(&Kernels<f32>), test_f64: impl Fn(&Kernels<f64>)) {
    for machine in Machine::all().into_iter().flatten() {
        test_f32(machine.f32);
        test_f64(machine.f64);
    }
}

/// A matrix in panels, its padding NaN.
fn panels<R: Real>(rows: usize, cols: usize, width: usize, memory: &mut Vec<R>) -> Panels<R> {
    *memory = vec![R::from_f64(f64::NAN); Panels::<R>::size(rows, cols, width)];
    let matrix = Panels { data: memory.as_mut_ptr(), rows, cols, width };
    for row in 0..rows {
        let values: Vec<R> = (0..cols).map(|col| R::from_f64(noise(row * cols + col))).collect();
        // SAFETY: the memory was sized for this shape.
        unsafe { matrix.set_row(row, &values, R::from_f64(f64::NAN)) };
    }
    matrix
}

fn element<R: Real>(matrix: &Panels<R>, row: usize, col: usize) -> f64 {
    // SAFETY: callers stay inside the matrix.
    unsafe { (*matrix.at(col / matrix.width, row).add(col % matrix.width)).to_f64() }
}

/// `out` (+)= left x right for all `rows`, checked for one panel of `right`.
fn check_product<R: Real>(
    kernels: &Kernels<R>,
    rows: usize,
    depth: usize,
    transposed: bool,
    accumulate: bool,
) {
    let width = kernels.width;
    let (mut left_memory, mut right_memory) = (Vec::new(), Vec::new());
    let left = match transposed {
        true => panels::<R>(depth, rows.min(width), width, &mut left_memory),
        false => panels::<R>(rows, depth, width, &mut left_memory),
    };
    let rows = if transposed { rows.min(width) } else { rows };
    let right = panels::<R>(depth, width, width, &mut right_memory);
    let mut out = vec![R::ONE; rows * width];
    // SAFETY: the operands have the shapes that the product says.
    unsafe {
        let operand = if transposed { Left::transposed(&left, 0) } else { Left::rows(&left, 0) };
        let product = Product {
            rows,
            first: 0,
            depth,
            left: operand,
            right: right.at(0, 0),
            next: std::ptr::null(),
            out: out.as_mut_ptr(),
            accumulate,
        };
        (kernels.product)(&product);
    }
    let unit = if size_of::<R>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    for (place, got) in out.iter().enumerate() {
        let (row, col) = (place / width, place % width);
        let a = |k| if transposed { element(&left, k, row) } else { element(&left, row, k) };
        let terms = (0..depth).map(|k| a(k) * element(&right, k, col));
        let want = f64::from(u8::from(accumulate)) + terms.clone().sum::<f64>();
        let bound = unit * (depth + 2) as f64 * (1.0 + terms.map(f64::abs).sum::<f64>());
        let error = (got.to_f64() - want).abs();
        assert!(error <= bound, "{}: {rows} x {depth}: {error:e} at {place}", kernels.name);
    }
}

#[test]
fn products_of_any_shape_are_those_of_float64() {
    for (rows, depth) in [(1, 1), (3, 32), (7, 33), (8, 255), (13, 256), (20, 257), (37, 600), (5, 0)] {
        for transposed in [false, true] {
            for accumulate in [false, true] {
                each_machine(
                    |kernels| check_product(kernels, rows, depth, transposed, accumulate),
                    |kernels| check_product(kernels, rows, depth, transposed, accumulate),
                );
            }
        }
    }
}

/// A bfloat16 that follows from its place.
fn short_noise(place: usize) -> bf16 {
    bf16::from_f64(noise(place))
}

fn pair(first: bf16, second: bf16) -> f32 {
    f32::from_bits(u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16)
}

fn each_pairs(test: impl Fn(&Kernels<f32>, &PairKernels<f32>)) {
    for machine in Machine::all().into_iter().flatten() {
        machine.f32.pairs.iter().for_each(|pairs| test(machine.f32, pairs));
    }
}

#[test]
fn products_of_pairs_are_those_of_float64() {
    each_pairs(|kernels, pairs| {
        let width = kernels.width;
        for (rows, depth) in [(1, 1), (7, 33), (20, 257), (37, 600)] {
            let steps = usize::div_ceil(depth, 2);
            let left =
                |row: usize, k: usize| if k < depth { short_noise(row * depth + k) } else { bf16::ZERO };
            let right =
                |k: usize, col: usize| if k < depth { short_noise(7 * k * width + col) } else { bf16::ZERO };
            let mut memory = Vec::new();
            let matrix = panels::<f32>(rows, steps, width, &mut memory);
            let mut panel = Vec::new();
            for k in 0..steps {
                panel.extend((0..width).map(|col| pair(right(2 * k, col), right(2 * k + 1, col))));
                for row in 0..rows {
                    // SAFETY: inside the matrix.
                    unsafe {
                        let at = matrix.at(k / width, row).add(k % width);
                        at.write(pair(left(row, 2 * k), left(row, 2 * k + 1)));
                    }
                }
            }
            let mut out = vec![1.0; rows * width];
            // SAFETY: the operands have the shapes that the product says.
            unsafe {
                (pairs.product)(&Product {
                    rows,
                    first: 0,
                    depth: steps,
                    left: Left::rows(&matrix, 0),
                    right: panel.as_ptr(),
                    next: std::ptr::null(),
                    out: out.as_mut_ptr(),
                    accumulate: true,
                });
            }
            for (place, got) in out.iter().enumerate() {
                let (row, col) = (place / width, place % width);
                let terms = (0..depth).map(|k| left(row, k).to_f64() * right(k, col).to_f64());
                let want = 1.0 + terms.clone().sum::<f64>();
                let sizes = 1.0 + terms.map(f64::abs).sum::<f64>();
                let error = (f64::from(*got) - want).abs();
                let bound = f64::from(f32::EPSILON) * (depth + 2) as f64 * sizes;
                assert!(error <= bound, "{}: {rows} x {depth}: {error:e} at {place}", kernels.name);
            }
        }
    });
}

#[test]
fn numbers_are_narrowed_to_pairs_of_the_nearest_bfloat16() {
    each_pairs(|kernels, pairs| {
        let width = kernels.width;
        for rows in [1, 2, 7, 8] {
            // Two panels, as they lie side by side in the matrix of pairs.
            let mut memory = Vec::new();
            let numbers = panels::<f32>(rows, 2 * width, width, &mut memory);
            let want = |row: usize, col: usize| match row < rows {
                true => bf16::from_f64(element(&numbers, row, col)),
                false => bf16::ZERO,
            };
            let want: Vec<Vec<bf16>> =
                (0..rows + 1).map(|row| (0..2 * width).map(|col| want(row, col)).collect()).collect();
            let along = along(&numbers);
            for panel in 0..2 {
                let mut down = vec![f32::NAN; rows.div_ceil(2) * width];
                // SAFETY: as large as a panel's pairs are.
                unsafe {
                    (pairs.narrow)(&Narrow {
                        data: numbers.at(panel, 0),
                        rows,
                        down: down.as_mut_ptr(),
                        along: along.at(0, 0).add(panel * width / 2),
                    });
                }
                for (place, got) in down.iter().enumerate() {
                    let (row, col) = (2 * (place / width), panel * width + place % width);
                    assert_eq!(got.to_bits(), pair(want[row][col], want[row + 1][col]).to_bits());
                }
            }
            for (row, want) in want[..rows].iter().enumerate() {
                for (place, want) in want.chunks(2).enumerate() {
                    // SAFETY: inside the matrix.
                    let got = unsafe { *along.at(0, row).add(place) };
                    assert_eq!(got.to_bits(), pair(want[0], want[1]).to_bits());
                }
            }
        }
    });
}

/// exp of each number, as the gradients take it.
fn exponentials<R: Real>(kernels: &Kernels<R>, numbers: &[f64]) -> Vec<f64> {
    let mut data: Vec<R> = numbers.iter().map(|&z| R::from_f64(z)).collect();
    data.resize(numbers.len().next_multiple_of(kernels.width), R::ZERO);
    let scale = RowScale { coefficient: R::ONE, high: R::ZERO, low: R::ZERO };
    let scales = vec![scale; data.len() / kernels.width];
    // SAFETY: as many rows as scales.
    unsafe { (kernels.gradients)(data.as_mut_ptr(), &scales) };
    data[..numbers.len()].iter().map(|value| value.to_f64()).collect()
}

#[test]
fn float32_exponential_is_within_one_ulp_and_a_half() {
    let numbers: Vec<f64> = (0..200_000).map(|i| f64::from(-(i as f32) * 4.3e-4)).collect();
    for machine in Machine::all().into_iter().flatten() {
        for (z, got) in numbers.iter().zip(exponentials(machine.f32, &numbers)) {
            let want = z.exp();
            let ulp = f64::from((want as f32).next_up()) - f64::from(want as f32);
            let error = (got - want).abs() / ulp;
            assert!(error <= 1.5, "{}: exp({z}) = {got:e}, {error} ulp off", machine.f32.name);
        }
    }
}

#[test]
fn exponential_is_zero_far_below_and_keeps_nan() {
    let special = [f64::NEG_INFINITY, -1e30, -200.0, f64::NAN, 0.0];
    let check = |name: &str, got: Vec<f64>| {
        assert!(got[..3].iter().all(|&value| (0.0..1e-80).contains(&value)), "{name}: {got:?}");
        assert!(got[3].is_nan() && got[4] == 1.0, "{name}: {got:?}");
    };
    each_machine(
        |kernels| check(kernels.name, exponentials(kernels, &special)),
        |kernels| check(kernels.name, exponentials(kernels, &special)),
    );
}

/// The log-sum-exp of one row over several panels, the logits growing by `growth` a panel.
fn check_log_sum_exp<R: Real>(kernels: &Kernels<R>, growth: f64, tolerance: f64) {
    let width = kernels.width;
    let mut state = vec![R::ZERO; width];
    state[..width / 2].fill(R::LOWEST);
    let mut all = Vec::new();
    for panel in 0..12 {
        let mut data: Vec<R> = (0..width).map(|col| R::from_f64(3.0 * noise(panel * width + col))).collect();
        data[panel % width] = R::NEG_INFINITY;
        let offset = vec![R::from_f64(growth * panel as f64); width];
        all.extend(data.iter().map(|z| z.to_f64() + growth * panel as f64));
        let logits = Logits { data: data.as_mut_ptr(), rows: 1, offset: offset.as_ptr() };
        // SAFETY: one row of logits, of offsets and of state.
        unsafe { (kernels.accumulate)(&logits, state.as_mut_ptr()) };
    }
    // SAFETY: a state of one row.
    let (reference, sum) = unsafe { (kernels.finish)(state.as_ptr()) };
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let want = most + all.iter().map(|z| (z - most).exp()).sum::<f64>().ln();
    let error = (reference.to_f64() + sum.to_f64().ln() - want).abs();
    assert!(error <= tolerance * want.abs().max(1.0), "{}: growth {growth}: {error:e}", kernels.name);
}

#[test]
fn running_log_sum_exp_holds_however_logits_grow() {
    for growth in [0.0, 0.5, 7.9, 8.1, 500.0, -300.0] {
        each_machine(
            |kernels| check_log_sum_exp(kernels, growth, 2e-6),
            |kernels| check_log_sum_exp(kernels, growth, 1e-13),
        );
    }
}

#[test]
fn rows_of_coefficient_zero_are_zero_whatever_they_hold() {
    fn check<R: Real>(kernels: &Kernels<R>) {
        let mut data = vec![R::from_f64(f64::NAN); kernels.width];
        let nan = R::from_f64(f64::NAN);
        let scale = RowScale { coefficient: R::ZERO, high: nan, low: nan };
        // SAFETY: one row.
        unsafe { (kernels.gradients)(data.as_mut_ptr(), &[scale]) };
        assert!(data.iter().all(|&value| value == R::ZERO), "{}", kernels.name);
    }
    each_machine(check, check);
}
