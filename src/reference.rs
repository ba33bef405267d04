//! The loss and its gradients in plain float64, one row after another, nothing shared
//! and nothing saved: slow, and the oracle that every engine is compared with.
//!
//! With p the softmax over a row's columns (its T labels and the candidates that are
//! not masked), epsilon the probability floor and r_t = p_t / (p_t + epsilon):
//!
//! ```text
//! loss       = logsumexp(z) - mean_t z_t            for epsilon = 0
//!            = -mean_t ln(p_t + epsilon)            otherwise
//! d loss/dz_c = (mean_t r_t) p_c - [c is label t] r_t / T
//! ```
//!
//! r_t is 1 where epsilon is 0, also when p_t underflows: that is the limit of the
//! logarithm's derivative, and what keeps the gradient of the hardest rows at -1.

/// How the rows' losses become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// `[N]` losses, each times its weight.
    None,
    /// sum of weight * loss over sum of weights, ignored rows in neither; 0 where the
    /// weights sum to 0.
    Mean,
    /// sum of weight * loss.
    Sum,
}

/// A loss to compute: N rows of d elements, C classes, S candidates, T labels a row.
/// Arrays are row-major without gaps; labels and ids must lie in `[0, C)`, except in
/// ignored rows.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// d.
    pub dim: usize,
    /// T.
    pub num_true: usize,
    /// `[N, d]`.
    pub inputs: &'a [f64],
    /// `[C, d]`.
    pub weights: &'a [f64],
    /// `[C]`; none is 0 for every class.
    pub biases: Option<&'a [f64]>,
    /// `[N, T]`.
    pub labels: &'a [i64],
    /// `[S]`, in any order, repeats allowed.
    pub ids: &'a [i64],
    /// `[S]`, Q of each candidate.
    pub sampled_expected_count: &'a [f64],
    /// `[N, T]`, Q of each label.
    pub true_expected_count: &'a [f64],
    /// `[N]`; none is 1 for every row. A row of weight 0 is not looked at.
    pub sample_weights: Option<&'a [f64]>,
    /// A row whose labels all equal this is not looked at.
    pub ignore_index: Option<i64>,
    /// Whether a candidate that is one of a row's labels is left out of that row.
    pub mask_hits: bool,
    /// Epsilon; 0 is the exact loss.
    pub probability_floor: f64,
    /// How the losses are put together.
    pub reduction: Reduction,
    /// Gradient of what follows the loss: `[N]`, or `[1]` with a reduction; none is 1.
    pub grad_output: Option<&'a [f64]>,
}

/// What a [`Problem`] comes to.
#[derive(Clone, Debug)]
pub struct Solution {
    /// `[N]`, or `[1]` with a reduction.
    pub loss: Vec<f64>,
    /// `[N]`, the logarithm of each row's normaliser; 0 for rows not looked at.
    pub log_sum_exp: Vec<f64>,
    /// `[N, d]`.
    pub d_inputs: Vec<f64>,
    /// `[C, d]`.
    pub d_weights: Vec<f64>,
    /// `[C]`.
    pub d_biases: Vec<f64>,
}

/// One term of a row's normaliser.
struct Column {
    class: usize,
    logit: f64,
}

impl Problem<'_> {
    /// Computes loss and gradients.
    pub fn solve(&self) -> Solution {
        let rows = self.labels.len() / self.num_true;
        let mut losses = vec![0.0; rows];
        let mut solution = Solution {
            loss: Vec::new(),
            log_sum_exp: vec![0.0; rows],
            d_inputs: vec![0.0; rows * self.dim],
            d_weights: vec![0.0; self.weights.len()],
            d_biases: vec![0.0; self.weights.len() / self.dim],
        };
        let total: f64 = (0..rows).filter(|&row| !self.is_ignored(row)).map(|row| self.weight(row)).sum();
        // What the reduction multiplies every row by.
        let share = match self.reduction {
            Reduction::Mean if total == 0.0 => 0.0,
            Reduction::Mean => 1.0 / total,
            Reduction::None | Reduction::Sum => 1.0,
        };
        for row in 0..rows {
            if self.is_ignored(row) || self.weight(row) == 0.0 {
                continue;
            }
            let columns = self.columns(row);
            let normaliser = Normaliser::of(&columns);
            solution.log_sum_exp[row] = normaliser.log_sum_exp();
            losses[row] = self.weight(row) * self.row_loss(&columns, &normaliser);
            let upstream = match self.reduction {
                Reduction::None => self.grad_output.map_or(1.0, |gradient| gradient[row]),
                Reduction::Mean | Reduction::Sum => self.grad_output.map_or(1.0, |g| g[0]),
            };
            let scale = upstream * share * self.weight(row);
            if scale != 0.0 {
                self.add_gradients(row, &columns, &normaliser, scale, &mut solution);
            }
        }
        solution.loss = match self.reduction {
            Reduction::None => losses,
            Reduction::Mean if share == 0.0 => vec![0.0],
            Reduction::Mean | Reduction::Sum => vec![share * losses.iter().sum::<f64>()],
        };
        solution
    }

    fn row_labels(&self, row: usize) -> &[i64] {
        &self.labels[row * self.num_true..][..self.num_true]
    }

    fn is_ignored(&self, row: usize) -> bool {
        self.ignore_index.is_some_and(|ignored| self.row_labels(row).iter().all(|&l| l == ignored))
    }

    fn weight(&self, row: usize) -> f64 {
        self.sample_weights.map_or(1.0, |weights| weights[row])
    }

    fn input(&self, row: usize) -> &[f64] {
        &self.inputs[row * self.dim..][..self.dim]
    }

    fn column(&self, row: usize, class: i64, expected_count: f64) -> Column {
        let class = class as usize;
        let weights = &self.weights[class * self.dim..][..self.dim];
        let product: f64 = self.input(row).iter().zip(weights).map(|(x, w)| x * w).sum();
        let bias = self.biases.map_or(0.0, |biases| biases[class]);
        Column { class, logit: product + bias - expected_count.ln() }
    }

    /// The row's labels, then its candidates without the accidental hits.
    fn columns(&self, row: usize) -> Vec<Column> {
        let labels = self.row_labels(row);
        let counts = &self.true_expected_count[row * self.num_true..][..self.num_true];
        let is_hit = |id: &i64| self.mask_hits && labels.contains(id);
        let labelled = labels.iter().zip(counts);
        let sampled = self.ids.iter().zip(self.sampled_expected_count);
        labelled
            .chain(sampled.filter(|(id, _)| !is_hit(id)))
            .map(|(&class, &count)| self.column(row, class, count))
            .collect()
    }

    fn row_loss(&self, columns: &[Column], normaliser: &Normaliser) -> f64 {
        let labels = &columns[..self.num_true];
        let terms = labels.iter().map(|label| match self.probability_floor {
            0.0 if normaliser.is_empty() => f64::INFINITY,
            0.0 => (normaliser.largest - label.logit) + normaliser.rest,
            floor => -(normaliser.probability(label.logit) + floor).ln(),
        });
        terms.sum::<f64>() / self.num_true as f64
    }

    fn add_gradients(
        &self,
        row: usize,
        columns: &[Column],
        normaliser: &Normaliser,
        scale: f64,
        solution: &mut Solution,
    ) {
        let targets: Vec<f64> = columns[..self.num_true]
            .iter()
            .map(|label| self.kept_share(normaliser.probability(label.logit)))
            .collect();
        let total: f64 = targets.iter().sum();
        for (position, column) in columns.iter().enumerate() {
            let target = targets.get(position).copied().unwrap_or(0.0);
            let slope = scale * (total * normaliser.probability(column.logit) - target);
            solution.d_biases[column.class] += slope;
            for k in 0..self.dim {
                let (x, w) = (row * self.dim + k, column.class * self.dim + k);
                solution.d_inputs[x] += slope * self.weights[w];
                solution.d_weights[w] += slope * self.inputs[x];
            }
        }
    }

    /// r_t / T: what the floor leaves of a label's target.
    fn kept_share(&self, probability: f64) -> f64 {
        let kept = match self.probability_floor {
            0.0 => 1.0,
            floor => probability / (probability + floor),
        };
        kept / self.num_true as f64
    }
}

/// A row's normaliser as the largest logit and ln(1 + the other terms relative to that
/// one's): no exponential overflows, and a loss near 0 keeps its digits.
struct Normaliser {
    largest: f64,
    rest: f64,
}

impl Normaliser {
    fn of(columns: &[Column]) -> Normaliser {
        if columns.iter().all(|column| column.logit == f64::NEG_INFINITY) {
            return Normaliser { largest: f64::NEG_INFINITY, rest: 0.0 };
        }
        // A NaN, which `f64::max` drops, comes back in the sum, and so does infinity.
        let largest = columns.iter().map(|column| column.logit).fold(f64::NEG_INFINITY, f64::max);
        let first = columns.iter().position(|column| column.logit == largest && largest.is_finite());
        let others = columns.iter().enumerate().filter(|(place, _)| Some(*place) != first);
        let sum: f64 = others.map(|(_, column)| (column.logit - largest).exp()).sum();
        Normaliser { largest, rest: if first.is_some() { sum.ln_1p() } else { sum.ln() } }
    }

    fn log_sum_exp(&self) -> f64 {
        self.largest + self.rest
    }

    /// Whether every class of the row is switched off.
    fn is_empty(&self) -> bool {
        self.largest == f64::NEG_INFINITY && self.rest == 0.0
    }

    fn probability(&self, logit: f64) -> f64 {
        if self.is_empty() { 0.0 } else { ((logit - self.largest) - self.rest).exp() }
    }
}
