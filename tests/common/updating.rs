//! Updates of weights in a call, and what they come to in float64.

use std::ptr::null_mut;

use sampled_softmax::abi::*;

use super::{Arguments, Buffer, Call, Case, Failure, Kind, unit_roundoff, weight_gradients};

pub const RULES: [u32; 3] = [SSL_UPDATE_SGD, SSL_UPDATE_ADAGRAD, SSL_UPDATE_ROW_ADAGRAD];

/// What an update asks for, apart from its arrays.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub rule: u32,
    pub rate: f64,
    pub epsilon: f64,
    pub decay: f64,
    /// Elements between the rows of a state of rows.
    pub gap: usize,
}

impl Wish {
    /// With an epsilon where the rule has one.
    pub fn of(rule: u32) -> Wish {
        let epsilon = if rule == SSL_UPDATE_SGD { 0.0 } else { 1e-3 };
        Wish { rule, rate: 0.3, epsilon, decay: 0.0, gap: 0 }
    }

    fn state_dim(&self, dim: usize) -> usize {
        if self.rule == SSL_UPDATE_ADAGRAD { dim } else { 1 }
    }
}

/// A call that updates, with the states of its optimizer.
pub struct Updating {
    pub call: Call,
    pub wish: Wish,
    pub weights_state: Buffer,
    pub biases_state: Buffer,
    pub update: ssl_update,
}

impl Updating {
    /// With states that earlier steps could have left.
    pub fn new(case: &Case, wish: Wish) -> Updating {
        Updating::on(Call::new(case), wish)
    }

    pub fn on(call: Call, wish: Wish) -> Updating {
        let case = &call.case;
        let earlier = |count: usize| -> Vec<f64> { (0..count).map(|i| (i % 7) as f64 * 0.125).collect() };
        let (dim, real) = (wish.state_dim(case.dim), case.types.loss());
        let gap = if wish.rule == SSL_UPDATE_ADAGRAD { wish.gap } else { 0 };
        // SAFETY: zero is a value of every field.
        let update =
            ssl_update { struct_size: size_of::<ssl_update>() as u32, ..unsafe { std::mem::zeroed() } };
        Updating {
            weights_state: Buffer::rows(real, &earlier(case.classes * dim), dim, gap),
            biases_state: Buffer::new(real, &earlier(case.classes)),
            call,
            wish,
            update,
        }
    }

    /// The arguments of a call that updates what it can.
    pub fn arguments(&mut self) -> Arguments {
        let mut arguments = self.call.arguments_for_all();
        let (wish, keeps) = (self.wish, self.wish.rule != SSL_UPDATE_SGD);
        let only = |keeps: bool, pointer: *mut libc::c_void| if keeps { pointer } else { null_mut() };
        let biases = self.call.biases.as_mut().map_or(null_mut(), Buffer::pointer);
        let gap = if wish.rule == SSL_UPDATE_ADAGRAD { wish.gap } else { 0 };
        self.update = ssl_update {
            rule: wish.rule,
            learning_rate: wish.rate,
            epsilon: wish.epsilon,
            weight_decay: wish.decay,
            weights: self.call.weights.pointer(),
            biases,
            weights_state: only(keeps, self.weights_state.pointer()),
            weights_state_stride: if gap == 0 { 0 } else { (self.call.case.dim + gap) as i64 },
            biases_state: only(keeps && !biases.is_null(), self.biases_state.pointer()),
            ..self.update
        };
        arguments.gradients.layout = SSL_GRADIENTS_UPDATE;
        arguments.gradients.d_weights = null_mut();
        arguments.gradients.d_biases = null_mut();
        arguments.gradients.update = &self.update;
        arguments
    }

    pub fn run(&mut self, kind: Kind) -> Result<(), Failure> {
        let arguments = self.arguments();
        kind(&arguments, &self.call.handle)
    }

    /// All that an update may change, in every bit.
    pub fn parameters(&self) -> [Buffer; 4] {
        let biases = self.call.biases.clone().unwrap_or_else(|| Buffer::untouched(0, 0));
        [self.call.weights.clone(), biases, self.weights_state.clone(), self.biases_state.clone()]
    }
}

/// Weights, biases and their states as a float64 optimizer has them after the gradient that
/// `sparse`, a call of the same loss, has written.
pub fn stepped(before: &Updating, sparse: &Call) -> [Vec<f64>; 4] {
    let (case, wish) = (&sparse.case, before.wish);
    let (d_weights, d_biases) = weight_gradients(sparse, case);
    let (dim, state_dim) = (case.dim, wish.state_dim(case.dim));
    let gap = if wish.rule == SSL_UPDATE_ADAGRAD { wish.gap } else { 0 };
    let mut weights = before.call.weights.dense_rows(case.classes, dim, case.gaps.weights);
    let mut states = before.weights_state.dense_rows(case.classes, state_dim, gap);
    let mut biases = before.call.biases.as_ref().map_or_else(Vec::new, Buffer::values);
    let mut bias_states = before.biases_state.values();
    for &class in &sparse.outputs.row_ids[..sparse.outputs.num_rows as usize] {
        let class = class as usize;
        let row = &mut weights[class * dim..][..dim];
        let gradient: Vec<f64> =
            row.iter().zip(&d_weights[class * dim..]).map(|(w, g)| g + wish.decay * w).collect();
        step(wish, row, &gradient, &mut states[class * state_dim..][..state_dim]);
        if let Some(bias) = biases.get_mut(class) {
            step(wish, std::slice::from_mut(bias), &d_biases[class..=class], &mut bias_states[class..=class]);
        }
    }
    [weights, biases, states, bias_states]
}

fn step(wish: Wish, row: &mut [f64], gradient: &[f64], states: &mut [f64]) {
    match wish.rule {
        SSL_UPDATE_SGD => row.iter_mut().zip(gradient).for_each(|(w, g)| *w -= wish.rate * g),
        SSL_UPDATE_ADAGRAD => {
            for ((w, g), state) in row.iter_mut().zip(gradient).zip(states) {
                *state += g * g;
                *w -= wish.rate * g / (state.sqrt() + wish.epsilon);
            }
        }
        _ => {
            states[0] += gradient.iter().map(|g| g * g).sum::<f64>() / row.len() as f64;
            let size = states[0].sqrt() + wish.epsilon;
            row.iter_mut().zip(gradient).for_each(|(w, g)| *w -= wish.rate * g / size);
        }
    }
}

/// Asserts that a call has left what `stepped` says, as far as its types can hold it.
pub fn assert_stepped(after: &Updating, want: &[Vec<f64>; 4]) {
    let (case, wish) = (&after.call.case, after.wish);
    let gap = if wish.rule == SSL_UPDATE_ADAGRAD { wish.gap } else { 0 };
    let real = unit_roundoff(case.types.loss());
    let got = [
        after.call.weights.dense_rows(case.classes, case.dim, case.gaps.weights),
        after.call.biases.as_ref().map_or_else(Vec::new, Buffer::values),
        after.weights_state.dense_rows(case.classes, wish.state_dim(case.dim), gap),
        after.biases_state.values(),
    ];
    let own = [unit_roundoff(case.types.weights), unit_roundoff(case.types.biases), 0.0, 0.0];
    for (((name, got), want), own) in
        ["weights", "biases", "weights_state", "biases_state"].into_iter().zip(&got).zip(want).zip(own)
    {
        // Rounded once to its type, and what comes of a handful of roundings on the way.
        super::assert_close(name, got, want, |i| {
            1.01 * own * want[i].abs() + real * (16.0 * want[i].abs() + 8.0 * wish.rate + 1e-6)
        });
    }
    assert!(after.call.weights.gaps_are_untouched(case.dim, case.gaps.weights), "weights: gaps");
    assert!(after.weights_state.gaps_are_untouched(wish.state_dim(case.dim), gap), "weights_state: gaps");
}
