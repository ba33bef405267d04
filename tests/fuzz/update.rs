//! What is wrong with an optimizer's step.

use sampled_softmax::abi::*;

use super::faults::Faults;
use super::rules::Call;

impl Call<'_> {
    /// Whether there is one where the layout asks for it alone, and what it says.
    pub fn update_faults(&self, faults: &mut Faults) {
        let (gradients, update) = (&self.step.gradients, &self.step.update);
        let invalid = SSL_STATUS_INVALID_VALUE;
        let is_given = !gradients.update.is_null() && !self.step.forms[4].is_null;
        if !self.has_update_layout() {
            return faults.must_if(is_given, invalid, "update");
        }
        faults.must_if(!is_given, SSL_STATUS_NULL_POINTER, "update");
        faults.must_if(!gradients.d_weights.is_null(), invalid, "d_weights");
        faults.must_if(!gradients.d_biases.is_null(), invalid, "d_biases");
        if !self.updates() {
            return;
        }
        faults.must_if(update.rule > SSL_UPDATE_ROW_ADAGRAD, invalid, "rule");
        for (value, name) in [
            (update.learning_rate, "learning_rate"),
            (update.epsilon, "epsilon"),
            (update.weight_decay, "weight_decay"),
        ] {
            faults.must_if(!(value >= 0.0 && value.is_finite()), invalid, name);
        }
        let sgd = update.rule == SSL_UPDATE_SGD;
        faults.must_if(sgd && update.epsilon != 0.0, invalid, "epsilon");
        let has_both = !update.learning_rate_pointer.is_null() && update.learning_rate != 0.0;
        faults.must_if(has_both, invalid, "learning_rate");
        if !update.learning_rate_pointer.is_null() && !self.step.is_tame {
            // It may lie in another array, whose numbers need not be rates.
            faults.may(invalid, "learning_rate_pointer");
        }
        let of_rows = update.rule == SSL_UPDATE_ADAGRAD;
        faults.must_if(update.weights_state_stride != 0 && !of_rows, invalid, "weights_state_stride");
        let batch = &self.step.batch;
        for (changed, of_batch, state, name, state_name) in [
            (update.weights, batch.weights, update.weights_state, "weights", "weights_state"),
            (update.biases, batch.biases, update.biases_state, "biases", "biases_state"),
        ] {
            let is_other = !changed.is_null() && changed.cast_const() != of_batch;
            faults.must_if(is_other, invalid, name);
            let is_kept = !sgd && !changed.is_null();
            faults.must_if(is_kept && state.is_null(), SSL_STATUS_NULL_POINTER, state_name);
            faults.must_if(!is_kept && !state.is_null(), invalid, state_name);
        }
    }
}
