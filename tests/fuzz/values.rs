//! What is wrong with what arrays hold: labels, candidates, expected counts.

use std::collections::BTreeSet;

use sampled_softmax::abi::*;

use super::array::Array::*;
use super::faults::Faults;
use super::rules::Call;
use super::step::Kind;

impl Call<'_> {
    /// What is wrong with what arrays hold.
    pub fn content_faults(&self) -> Faults {
        let mut found = Faults::default();
        self.label_faults(&mut found);
        if self.draws() {
            self.draw_faults(&mut found);
        } else if self.kind == Kind::Sample {
            let learns = self.model.sampler == SSL_SAMPLER_LEARNED_UNIGRAM;
            found.must_if(!learns, SSL_STATUS_INVALID_VALUE, "learned_counts");
            let is_nothing = self.step.candidates.learned_counts.is_null();
            found.must_if(is_nothing, SSL_STATUS_NULL_POINTER, "ids");
        } else {
            self.given_faults(&mut found);
        }
        found
    }

    fn label_faults(&self, faults: &mut Faults) {
        let (labels, dims) = (self.labels(), self.dims());
        for row in labels.chunks(dims.num_true as usize) {
            let ignored = row.iter().filter(|label| Some(**label) == self.ignored()).count();
            let is_mixed = ignored > 0 && ignored < row.len();
            faults.must_if(is_mixed, SSL_STATUS_INVALID_VALUE, "ignore_index");
            let outside = |label: &i64| Some(*label) != self.ignored() && !(0..dims.classes).contains(label);
            faults.must_if(row.iter().any(outside), SSL_STATUS_LABEL_RANGE, "labels");
        }
    }

    /// All labels, ignored ones included.
    pub fn labels(&self) -> Vec<i64> {
        match self.role(Labels) {
            Some(_) => self.step.integers(Labels, self.dims()),
            None => Vec::new(),
        }
    }

    /// The classes that must not be drawn.
    pub fn excluded(&self) -> BTreeSet<i64> {
        let mut excluded: BTreeSet<i64> = self.step.integers(Avoid, self.dims()).into_iter().collect();
        if self.model.hits == SSL_HITS_EXCLUDE {
            excluded.extend(self.labels().into_iter().filter(|label| Some(*label) != self.ignored()));
        }
        excluded
    }

    fn draw_faults(&self, faults: &mut Faults) {
        let (model, invalid) = (self.model, SSL_STATUS_INVALID_VALUE);
        let is_class = |class: &i64| (0..model.dims.classes).contains(class);
        if model.sampler == SSL_SAMPLER_CALLER {
            return faults.must(invalid, "SSL_SAMPLER_CALLER");
        }
        let is_read = model.backend == SSL_BACKEND_CPU || model.generator == SSL_GENERATOR_PHILOX;
        faults.must_if(!is_read && self.step.has(StepPointer), invalid, "step_pointer");
        let is_saved = !self.step.candidates.learned_counts.is_null();
        let learns = model.sampler == SSL_SAMPLER_LEARNED_UNIGRAM && model.backend == SSL_BACKEND_CPU;
        faults.must_if(is_saved && !learns, invalid, "learned_counts");
        let avoid = self.step.integers(Avoid, model.dims);
        let excludes = !avoid.is_empty() && model.generator == SSL_GENERATOR_PHILOX;
        faults.must_if(excludes, invalid, "SSL_GENERATOR_PHILOX");
        faults.must_if(!avoid.iter().all(is_class), SSL_STATUS_LABEL_RANGE, "avoid");
        let counted = !self.step.candidates.true_expected_count.is_null();
        let labels = self.labels().into_iter().filter(|label| Some(*label) != self.ignored());
        let undrawable = labels.filter(is_class).any(|label| !model.is_positive(label));
        faults.must_if(undrawable && counted, SSL_STATUS_EXPECTED_COUNT, "labels");
        let excluded = self.excluded();
        let lost = excluded.iter().filter(|class| is_class(class) && model.is_positive(**class)).count();
        let need = if model.unique { model.dims.sampled } else { 1 };
        let is_short = need > model.num_positive() - lost as i64;
        faults.must_if(is_short && !model.is_unsure, invalid, "num_sampled");
        if model.is_unsure {
            faults.may(invalid, "num_sampled");
            faults.may(invalid, "learned_counts");
            faults.may(SSL_STATUS_EXPECTED_COUNT, "labels");
        }
    }

    fn given_faults(&self, faults: &mut Faults) {
        let dims = self.dims();
        let is_class = |id: &i64| (0..dims.classes).contains(id);
        faults.must_if(!self.step.integers(Ids, dims).iter().all(is_class), SSL_STATUS_LABEL_RANGE, "ids");
        let is_count = |count: &f64| *count > 0.0 && count.is_finite();
        let counted = SSL_STATUS_EXPECTED_COUNT;
        let sampled = self.step.numbers(SampledCounts, dims);
        faults.must_if(!sampled.iter().all(is_count), counted, "sampled_expected_count");
        let of_labels = self.step.numbers(TrueCounts, dims);
        let bad = self
            .labels()
            .iter()
            .zip(&of_labels)
            .any(|(label, count)| Some(*label) != self.ignored() && !is_count(count));
        faults.must_if(bad, counted, "true_expected_count");
    }
}
