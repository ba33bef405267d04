//! How far each number that a call writes may lie from the float64 reference.
//!
//! Every bound is that of the very terms a number is made of: their sizes, how many they
//! are, and the formats they pass through. With u the unit roundoff of the accumulation
//! (2^-24, or 2^-53 where all is float64), a sum of n terms is off by at most
//!
//! ```text
//! growth(n) u sum |term|,      growth(n) = min(n, CONFIDENCE sqrt(n)) + 1
//! ```
//!
//! except with a probability below 2 exp(-CONFIDENCE^2 / 2) (Higham and Mary, 2019, "A new
//! approach to probabilistic rounding error analysis"); with sqrt(n copies) where a class is
//! sampled several times, for equal terms round alike. With e_j the error of logit z_j:
//!
//! ```text
//! e_j     growth(d) u sum_k |x_k w_jk|, and u of the offset b - ln Q and of z_j. A label's
//!         product is in float64 on the CPU engine: e_t is little more than u |z_t|
//! term    exp(z_j - m) of the normaliser: off by the factor exp(e_j + u (|z_j - m| + 20)),
//!         since the exponent is rounded as it is formed, is off from the running maximum
//!         by twice 8 at most, and exp itself by 2 u
//! lse     ln(1 + sum_j p_j (exp(..) - 1) + growth(S) u sum_j p_j)
//! loss    for T = 1 ln(1 + sum_j exp(z_j - z_t)): the label's own term cancels, and what is
//!         left is relative to a loss near 0. Else lse, and the mean of e_t
//! p_j     off by the factor exp(e_j + lse + u (2 |z_j - lse| + 4))
//! slope   upstream (A p_j - target): through p_j, through A and the targets (1 and 1/T
//!         without a probability floor), and two roundings
//! d_*     sum of slope x value: through every slope, growth(terms) u sum |slope value|, and
//!         one rounding to the dtype of the output
//! ```
//!
//! Where the CPU engine may multiply bfloat16 by bfloat16, the slopes of candidates are
//! rounded to it for a gradient that is returned in it: each by 2^-8 of it at most, so the
//! sum by 2^-8 sum |slope value| at most, and above CONFIDENCE 2^-8 sqrt(sum (slope value)^2)
//! only with the probability above (Hoeffding, 1963). Subnormal numbers may then be lost.
//!
//! Changes of a logit go through exp as they are, not to first order: where logits are so
//! large that u |z| is no small number, a probability may be anything between 0 and 1.

use sampled_softmax::abi::*;

use super::accuracy::{Accuracy, both_roundings, growth, smallest};
use super::class_sums::{ClassSums, Rounded};
use super::{BF16, Case, F64};

/// What every output may be off by, in the shape of the reference's solution; rounding
/// to the output's dtype comes on top (`accuracy::rounding`).
#[derive(Debug)]
pub struct Tolerances {
    pub loss: Vec<f64>,
    pub log_sum_exp: Vec<f64>,
    pub d_inputs: Vec<f64>,
    pub d_weights: Vec<f64>,
    pub d_biases: Vec<f64>,
}

/// |value|; 0 where it is not finite, for what comes of it is compared as it is.
fn finite_size(value: f64) -> f64 {
    if value.is_finite() { value.abs() } else { 0.0 }
}

/// One term of a row's normaliser.
struct Column {
    class: usize,
    logit: f64,
    error: f64,
}

/// A term of the gradients of one row: `slope` times a row of inputs or weights.
struct Slope {
    class: usize,
    size: f64,
    error: f64,
}

struct Terms<'a> {
    case: &'a Case,
    accuracy: Accuracy,
    /// Whether the engine may multiply bfloat16 as it is.
    short: bool,
    /// Of the accumulation; of the labels' products; of float64.
    u: f64,
    u_labels: f64,
    u64: f64,
    tiny: f64,
    /// How much of an input or a weight may be lost as it is split or read.
    flushed: f64,
    /// How often each class is sampled, and the most often.
    copies: Vec<usize>,
    most_copies: usize,
}

impl Tolerances {
    /// Of a case whose values are as their dtypes hold them, and whose candidates are
    /// those of the call.
    pub fn of(case: &Case, accuracy: Accuracy) -> Tolerances {
        let u = both_roundings(case.types.loss());
        let u64 = both_roundings(F64);
        let on_cpu = case.backend == SSL_BACKEND_CPU;
        let u_labels = if on_cpu { u64 } else { u };
        let short = on_cpu
            && case.precision != SSL_PRECISION_IEEE
            && (case.types.inputs, case.types.weights) == (BF16, BF16);
        // On a device and in pairs of bfloat16, what is below float32's normal numbers may be lost.
        let tiny = if on_cpu && !short { smallest(case.types.loss()) } else { f64::from(f32::MIN_POSITIVE) };
        let flushed = if on_cpu && !short { 0.0 } else { tiny };
        let mut copies = vec![0; case.classes];
        case.ids.iter().for_each(|&id| copies[id as usize] += 1);
        let most_copies = copies.iter().copied().max().unwrap_or(0);
        let terms = Terms { case, accuracy, short, u, u_labels, u64, tiny, copies, most_copies, flushed };
        let share = share(case);
        let mut result = Tolerances {
            loss: vec![0.0; case.rows],
            log_sum_exp: vec![0.0; case.rows],
            d_inputs: vec![0.0; case.rows * case.dim],
            d_weights: vec![0.0; case.classes * case.dim],
            d_biases: vec![0.0; case.classes],
        };
        // Sums of sizes, and how many terms they have, for what is summed over rows.
        let mut sizes = ClassSums::new(case);
        let scale_of = |row: usize| case.sample_weight(row).abs() * share * upstream(case, row);
        let largest = (0..case.rows).filter(|&row| !case.is_ignored(row)).map(scale_of).fold(0.0, f64::max);
        let lost_of_largest = accuracy.least * 2.0_f64.powi(-14) * largest;
        for row in (0..case.rows).filter(|&row| !case.is_ignored(row)) {
            let weight = case.sample_weight(row).abs();
            if weight == 0.0 {
                continue;
            }
            let columns = terms.columns(row);
            let Some(spread) = terms.spread(&columns) else { continue };
            result.log_sum_exp[row] = spread.lse_error;
            result.loss[row] = weight * share * terms.loss_error(&columns, &spread);
            if case.reduction != SSL_REDUCTION_NONE {
                let sum = growth(case.rows, 1) * terms.u_labels;
                result.loss[row] += sum * weight * share * terms.loss(&columns, &spread).abs();
            }
            let scale = weight * share * upstream(case, row);
            if scale != 0.0 {
                let slopes = terms.slopes(&columns, &spread, scale);
                let lost = [accuracy.least * scale, lost_of_largest];
                terms.add_gradients(row, &slopes, lost, &mut result, &mut sizes);
            }
        }
        terms.finish_weights(&sizes, &mut result);
        if case.reduction != SSL_REDUCTION_NONE {
            result.loss = vec![result.loss.iter().sum()];
        }
        result
    }
}

/// What the reduction multiplies every row by.
fn share(case: &Case) -> f64 {
    let live = (0..case.rows).filter(|&row| !case.is_ignored(row));
    let total: f64 = live.map(|row| case.sample_weight(row)).sum();
    match case.reduction {
        SSL_REDUCTION_MEAN if total == 0.0 => 0.0,
        SSL_REDUCTION_MEAN => 1.0 / total.abs(),
        _ => 1.0,
    }
}

fn upstream(case: &Case, row: usize) -> f64 {
    match (&case.grad_output, case.reduction) {
        (None, _) => 1.0,
        (Some(gradient), SSL_REDUCTION_NONE) => gradient[row].abs(),
        (Some(gradient), _) => gradient[0].abs(),
    }
}

/// A row's normaliser and the error of its logarithm.
struct Spread {
    lse: f64,
    lse_error: f64,
    /// Of each label's logit against the normaliser: in the loss, and in a probability,
    /// which is taken from the log-sum-exp as float64 holds it.
    loss_errors: Vec<f64>,
    label_errors: Vec<f64>,
    /// Error of the logit, the normaliser and the exponential together, by column.
    exponents: Vec<f64>,
}

impl Spread {
    fn probability(&self, logit: f64) -> f64 {
        if logit == f64::NEG_INFINITY { 0.0 } else { (logit - self.lse).exp() }
    }
}

impl Terms<'_> {
    /// The labels, then the candidates that are no hits.
    fn columns(&self, row: usize) -> Vec<Column> {
        let case = self.case;
        let labels = &case.labels[row * case.num_true..][..case.num_true];
        let counts = &case.true_expected_count[row * case.num_true..][..case.num_true];
        let is_hit = |id: &i64| case.hits != SSL_HITS_KEEP && labels.contains(id);
        let sampled = case.ids.iter().zip(&case.sampled_expected_count).filter(|(id, _)| !is_hit(id));
        let labelled =
            labels.iter().zip(counts).map(|(&class, &q)| self.column(row, class, q, self.u_labels));
        labelled.chain(sampled.map(|(&class, &q)| self.column(row, class, q, self.u))).collect()
    }

    fn column(&self, row: usize, class: i64, count: f64, u: f64) -> Column {
        let (case, class) = (self.case, class as usize);
        let input = &case.inputs[row * case.dim..][..case.dim];
        let weights = &case.weights[class * case.dim..][..case.dim];
        let (mut product, mut size, mut lost) = (0.0, 0.0, 0.0);
        for (x, w) in input.iter().zip(weights) {
            product += x * w;
            size += (x * w).abs();
            if self.short && x.abs().min(w.abs()) < self.tiny {
                lost += (x * w).abs();
            }
        }
        let bias = case.biases.as_ref().map_or(0.0, |biases| biases[class]);
        let offset = bias - count.ln();
        let logit = product + offset;
        let parts = bias.abs() + count.ln().abs();
        let error = (u * growth(case.dim, 1) + self.accuracy.products) * size
            + u * parts
            + self.u * (offset.abs() + logit.abs())
            + (case.dim + 2) as f64 * self.tiny
            + lost;
        Column { class, logit, error: if logit == f64::NEG_INFINITY { 0.0 } else { error } }
    }

    /// None where a number is not finite: what comes of it is compared as it is.
    fn spread(&self, columns: &[Column]) -> Option<Spread> {
        let num_true = self.case.num_true;
        if columns.iter().any(|column| column.logit.is_nan() || column.logit == f64::INFINITY) {
            return None;
        }
        let most = columns.iter().map(|column| column.logit).fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY {
            let exponents = vec![0.0; columns.len()];
            let errors = vec![0.0; num_true];
            return Some(Spread {
                lse: most,
                lse_error: 0.0,
                loss_errors: errors.clone(),
                label_errors: errors,
                exponents,
            });
        }
        let sum: f64 = columns.iter().map(|column| (column.logit - most).exp()).sum();
        let mut spread = Spread {
            lse: most + sum.ln(),
            lse_error: 0.0,
            loss_errors: Vec::new(),
            label_errors: Vec::new(),
            exponents: Vec::new(),
        };
        let (labels, sampled) = columns.split_at(num_true);
        // Of the sampled terms, where every exponent is off by `with` more.
        let sampled_error = |with: f64| -> f64 {
            let term = |column: &Column| {
                let p = spread.probability(column.logit);
                if p == 0.0 {
                    return 0.0;
                }
                let exponent = column.error + self.u * ((column.logit - most).abs() + 20.0);
                p * ((exponent + with).exp_m1() + growth(sampled.len(), self.most_copies) * self.u)
            };
            sampled.iter().map(term).sum::<f64>() + self.tiny * sampled.len() as f64
        };
        let scale = 4.0 * self.u64 * (spread.lse.abs() + 1.0);
        let label_terms = labels.iter().map(|label| spread.probability(label.logit) * label.error.exp_m1());
        let lse_error = (sampled_error(0.0) + label_terms.sum::<f64>()).ln_1p() + scale;
        let loss_errors = labels.iter().map(|label| match num_true {
            1 => sampled_error(label.error).ln_1p() + 4.0 * self.u64 * (spread.lse - label.logit).min(1.0),
            _ => lse_error + label.error + 4.0 * self.u64 * finite_size(label.logit),
        });
        let loss_errors: Vec<f64> = loss_errors.collect();
        let label_errors = loss_errors.iter().zip(labels);
        let label_errors = label_errors
            .map(|(error, label)| error + scale + 4.0 * self.u64 * finite_size(label.logit))
            .collect();
        let distance = |z: f64| finite_size(z - spread.lse);
        let exponents =
            columns.iter().map(|c| c.error + lse_error + self.u * (2.0 * distance(c.logit) + 4.0)).collect();
        (spread.lse_error, spread.loss_errors) = (lse_error, loss_errors);
        (spread.label_errors, spread.exponents) = (label_errors, exponents);
        Some(spread)
    }

    /// Of a row of weight 1; 0 where it is infinite.
    fn loss(&self, columns: &[Column], spread: &Spread) -> f64 {
        let floor = self.case.probability_floor;
        let term = |label: &Column| match floor {
            0.0 => spread.lse - label.logit,
            floor => -(spread.probability(label.logit) + floor).ln(),
        };
        let num_true = self.case.num_true;
        let loss = columns[..num_true].iter().map(term).sum::<f64>() / num_true as f64;
        if loss.is_finite() { loss } else { 0.0 }
    }

    /// Of the loss of a row of weight 1.
    fn loss_error(&self, columns: &[Column], spread: &Spread) -> f64 {
        let floor = self.case.probability_floor;
        let errors = spread.loss_errors.iter().zip(&spread.label_errors);
        let error = columns.iter().zip(errors).map(|(label, (&in_loss, &exponent))| match floor {
            0.0 if label.logit == f64::NEG_INFINITY => 0.0,
            0.0 => in_loss,
            floor => {
                let p = spread.probability(label.logit);
                let moved = exponent.min(p / (p + floor) * exponent.exp_m1());
                // The sum p + floor is rounded, and so is its logarithm.
                moved + 4.0 * self.u64 * (1.0 + (p + floor).ln().abs())
            }
        });
        error.sum::<f64>() / self.case.num_true as f64
    }

    /// Gradients of the logits, the labels' first.
    fn slopes(&self, columns: &[Column], spread: &Spread, scale: f64) -> Vec<Slope> {
        let (num_true, floor) = (self.case.num_true, self.case.probability_floor);
        let targets = num_true as f64;
        // A p may be a subnormal before it is scaled.
        let least = smallest(F64);
        // p of a column and by how much it may be off; of a column of exponent error e.
        let probability = |column: &Column, exponent: f64| {
            let p = spread.probability(column.logit);
            (p, if p == 0.0 { self.tiny } else { (p * exponent.exp_m1()).min(1.0) + self.tiny })
        };
        // r = p / (p + floor) is the logistic function of ln p - ln floor; p, in float64, may
        // be a subnormal.
        let kept = |column: &Column, exponent: f64| {
            let p = spread.probability(column.logit);
            let r = if floor == 0.0 { 1.0 } else { p / (p + floor) };
            let moved = (r * (1.0 - r) * exponent.exp_m1()).min(1.0);
            (r, if floor == 0.0 { 0.0 } else { moved + smallest(F64) / (p + floor) })
        };
        let labels = || columns[..num_true].iter().zip(&spread.label_errors);
        let (mut total, mut total_error) = (0.0, 0.0);
        for (label, &exponent) in labels() {
            let (r, error) = kept(label, exponent);
            total += r / targets;
            total_error += error / targets;
        }
        let label_slopes = labels().map(|(label, &exponent)| {
            let ((p, p_error), (r, r_error)) = (probability(label, exponent), kept(label, exponent));
            let size = scale * (total * p - r / targets).abs();
            let error = scale * (total * p_error + total_error * (p + p_error) + r_error / targets + least);
            Slope { class: label.class, size, error: error + self.u * size + self.tiny }
        });
        let sampled = columns[num_true..].iter().zip(&spread.exponents[num_true..]);
        let sampled_slopes = sampled.map(|(column, &exponent)| {
            let (p, p_error) = probability(column, exponent);
            let size = scale * total * p;
            let error = scale * (total * p_error + total_error * (p + p_error) + least);
            Slope { class: column.class, size, error: error + 2.0 * self.u * size + self.tiny }
        });
        label_slopes.chain(sampled_slopes).collect()
    }

    /// `lost` is how much of a slope may be on its way into d_inputs, and into the others.
    fn add_gradients(
        &self,
        row: usize,
        slopes: &[Slope],
        lost: [f64; 2],
        result: &mut Tolerances,
        sizes: &mut ClassSums,
    ) {
        let dim = self.case.dim;
        let input = &self.case.inputs[row * dim..][..dim];
        let d_inputs = &mut result.d_inputs[row * dim..][..dim];
        let sum = growth(slopes.len(), self.most_copies) * self.u + self.accuracy.factors;
        let mut rounded = vec![Rounded::default(); dim];
        for (place, Slope { class, size, error }) in slopes.iter().enumerate() {
            let candidate = place >= self.case.num_true;
            let weights = &self.case.weights[class * dim..][..dim];
            let d_weights = &mut result.d_weights[class * dim..][..dim];
            let weight_sizes = &mut sizes.d_weights[class * dim..][..dim];
            for k in 0..dim {
                let (weight, input) = (finite_size(weights[k]), finite_size(input[k]));
                d_inputs[k] += (error + lost[0] + sum * size) * weight + self.tiny + self.flushed * size;
                d_weights[k] += (error + lost[1]) * input + self.tiny + self.flushed * size;
                weight_sizes[k] += size * input;
                if candidate {
                    d_weights[k] += self.accuracy.inputs_least;
                    rounded[k].add(size * weight);
                    sizes.rounded[class * dim + k].add(size * input);
                }
            }
            result.d_biases[*class] += error + lost[1] + self.tiny;
            sizes.d_biases[*class] += size;
            sizes.terms[*class] += 1;
        }
        if self.short && self.case.types.d_inputs == BF16 {
            let errors = rounded.iter().map(|rounded| rounded.error(self.most_copies));
            d_inputs.iter_mut().zip(errors).for_each(|(tolerance, error)| *tolerance += error);
        }
    }

    fn finish_weights(&self, sizes: &ClassSums, result: &mut Tolerances) {
        for (class, &terms) in sizes.terms.iter().enumerate() {
            let sum = growth(terms, self.copies[class]) * self.u + self.accuracy.factors;
            result.d_biases[class] += sum * sizes.d_biases[class];
            let cells = class * self.case.dim..(class + 1) * self.case.dim;
            for (tolerance, size) in result.d_weights[cells.clone()].iter_mut().zip(&sizes.d_weights[cells]) {
                *tolerance += (sum + self.accuracy.inputs) * size;
            }
        }
        if self.short && self.case.types.d_weights == BF16 {
            for (cell, (tolerance, rounded)) in result.d_weights.iter_mut().zip(&sizes.rounded).enumerate() {
                *tolerance += rounded.error(self.copies[cell / self.case.dim]);
            }
        }
    }
}
