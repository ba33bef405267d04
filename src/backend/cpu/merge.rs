//! The gradient of the parameters: candidates' rows and labels' rows, summed into one
//! row for each class, ascending; written, added, or the step of an optimizer.

use super::convert::{read_row, write_row};
use super::logits::add_scaled;
use super::simd::Real;
use super::step::Run;
use super::update::Optimizer;
use super::workspace::Entry;
use crate::args::{GradientOutputs, Layout, RowList};

/// Entries of one task.
const TASK_ENTRIES: usize = 64;

impl<R: Real> Run<'_, R> {
    /// Writes, adds or applies d_weights and d_biases.
    pub(super) unsafe fn merge(&self, outputs: &GradientOutputs) {
        // SAFETY: the caller's promise.
        let entries = unsafe {
            self.sort_labels();
            self.list_entries()
        };
        let RowList { row_ids, num_rows, capacity } = outputs.layout.list();
        // SAFETY: row_ids has `capacity` elements, of which the entries are part.
        unsafe {
            for place in 0..capacity {
                row_ids.add(place).write(entries.get(place).map_or(-1, |entry| entry.id));
            }
            if !num_rows.is_null() {
                num_rows.write(entries.len() as i64);
            }
        }
        // SAFETY: the caller's promise.
        let optimizer = outputs.update().map(|update| unsafe { Optimizer::new(update) });
        let work = entries.len() * self.shape().dim * 8;
        self.share(work, entries.len().div_ceil(TASK_ENTRIES), |worker, number| {
            for (place, entry) in entries.iter().enumerate().skip(number * TASK_ENTRIES).take(TASK_ENTRIES) {
                // SAFETY: each entry is one task's, and so is its row of the outputs.
                unsafe { self.write_entry(outputs, optimizer, (place, entry), worker) };
            }
        });
    }

    /// The labels of all rows that are not ignored, with their place.
    unsafe fn sort_labels(&self) {
        let num_true = self.shape().num_true;
        // SAFETY: [N * T].
        unsafe {
            let labels = self.gradient_buffers().labels;
            let mut count = 0;
            for row in (0..self.shape().rows).filter(|&row| !self.host.is_ignored(row)) {
                for place in row * num_true..(row + 1) * num_true {
                    labels.add(count).write((self.host.label(place), place));
                    count += 1;
                }
            }
            std::slice::from_raw_parts_mut(labels, count).sort_unstable();
            // What is behind the last is past every class.
            (count..self.shape().rows * num_true)
                .for_each(|place| labels.add(place).write((i64::MAX, place)));
        }
    }

    /// Merges the two sorted lists.
    unsafe fn list_entries(&self) -> &[Entry] {
        let b = &self.buffers;
        let shape = self.shape();
        let gradients = self.gradient_buffers();
        // SAFETY: the buffers have these sizes, and every entry is a class of its own.
        unsafe {
            let ids = std::slice::from_raw_parts(b.ids, shape.sampled);
            let labels = std::slice::from_raw_parts(gradients.labels, shape.rows * shape.num_true);
            let labels = &labels[..labels.partition_point(|&(label, _)| label != i64::MAX)];
            let (mut id, mut label, mut count) = (0, 0, 0);
            while id < ids.len() || label < labels.len() {
                let next = match (ids.get(id), labels.get(label)) {
                    (Some(&id), Some(&(label, _))) => id.min(label),
                    (Some(&id), None) => id,
                    (None, Some(&(label, _))) => label,
                    (None, None) => break,
                };
                let candidates = (id, id + ids[id..].iter().take_while(|&&id| id == next).count());
                let places =
                    (label, label + labels[label..].iter().take_while(|&&(label, _)| label == next).count());
                gradients.entries.add(count).write(Entry { id: next, candidates, labels: places });
                (id, label, count) = (candidates.1, places.1, count + 1);
            }
            std::slice::from_raw_parts(gradients.entries, count)
        }
    }

    unsafe fn write_entry(
        &self,
        outputs: &GradientOutputs,
        optimizer: Option<Optimizer<'_>>,
        (place, entry): (usize, &Entry),
        worker: usize,
    ) {
        let b = &self.buffers;
        let gradients = self.gradient_buffers();
        let (dim, num_true) = (self.shape().dim, self.shape().num_true);
        let class = entry.id as usize;
        let add = matches!(outputs.layout, Layout::Dense);
        let to = if add { class } else { place };
        // SAFETY: the buffers are laid out for these shapes; the row buffers are the
        // worker's.
        unsafe {
            let labels = std::slice::from_raw_parts(gradients.labels, entry.labels.1);
            let labels =
                labels[entry.labels.0..].iter().map(|&(_, place)| (place, *gradients.d_true.add(place)));
            let labels = labels.filter(|&(_, gradient)| gradient != R::ZERO);
            if outputs.of_biases() {
                let candidates =
                    (entry.candidates.0..entry.candidates.1).map(|column| *gradients.d_biases.add(column));
                let parts = candidates.chain(labels.clone().map(|(_, gradient)| gradient));
                let sum = parts.fold(R::ZERO, |sum, part| sum.fma(R::ONE, part));
                match (&outputs.d_biases, &optimizer) {
                    (Some(d_biases), _) => write_row(d_biases, to, &[sum], add),
                    (None, optimizer) => {
                        optimizer.iter().for_each(|optimizer| optimizer.move_bias(class, sum))
                    }
                }
            }
            if outputs.of_weights() {
                let sum = std::slice::from_raw_parts_mut(b.rows.add(worker * 2 * dim), dim);
                let row = std::slice::from_raw_parts_mut(b.rows.add((worker * 2 + 1) * dim), dim);
                let (first, last) = entry.candidates;
                if first < last {
                    gradients.d_weights.get_row(first, sum)
                } else {
                    sum.fill(R::ZERO)
                }
                for column in first + 1..last {
                    gradients.d_weights.get_row(column, row);
                    add_scaled(sum, R::ONE, row);
                }
                for (label, gradient) in labels {
                    read_row(&self.step.batch.inputs, label / num_true, row);
                    add_scaled(sum, gradient, row);
                }
                match (&outputs.d_weights, &optimizer) {
                    (Some(d_weights), _) => write_row(d_weights, to, sum, add),
                    (None, optimizer) => {
                        optimizer.iter().for_each(|optimizer| optimizer.move_weights(class, sum, row));
                    }
                }
            }
        }
    }
}
