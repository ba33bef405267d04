//! What `ssl_create` makes: a problem, a sampler and a backend, and the order in which
//! a call goes through them. Everything is checked before anything is written.

use libc::c_void;

use crate::abi::{ssl_batch, ssl_candidates, ssl_config, ssl_gradients, ssl_loss};
use crate::args::{self, Batch, Call, Candidates, GradientOutputs, Hits, LossOutputs, Problem, Setup, Shape};
use crate::backend::{Backend, Step, WorkspaceSize};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::memory::{Region, Regions};
use crate::sampler::{Draw, Sampler};

pub(crate) struct Handle {
    problem: Problem,
    sampler: Sampler,
    backend: Backend,
}

impl Handle {
    /// # Safety
    /// The pointers of `config` lead to what `ssl_config` says.
    pub(crate) unsafe fn create(config: &ssl_config) -> Result<Handle> {
        // SAFETY: the caller's promise.
        let setup = unsafe { Setup::check(config)? };
        let backend = Backend::create(setup.backend, setup.device, setup.num_threads)?;
        let sampler = Sampler::new(setup.sampler)?;
        Ok(Handle { problem: setup.problem, sampler, backend })
    }

    /// # Safety
    /// The pointers lead to what the header says.
    pub(crate) unsafe fn sample(
        &self,
        batch: Option<&ssl_batch>,
        candidates: &ssl_candidates,
        stream: *mut c_void,
    ) -> Result<()> {
        self.backend.check_stream(stream)?;
        let mut regions = Regions::new();
        // SAFETY: the caller's promise.
        unsafe {
            let (labels, ignored) = match batch {
                Some(batch) => args::labels(batch, &self.problem, &mut regions)?,
                None => (Labels::I64(&[]), None),
            };
            let candidates =
                Candidates::check(candidates, &self.problem, labels.len(), Call::Sample, &mut regions)?;
            let num_true = self.problem.num_true as usize;
            args::check_labels(&labels, num_true, self.problem.num_classes as usize, ignored)?;
            self.draw(&labels, ignored, &candidates)
        }
    }

    pub(crate) fn workspace_size(&self, batch: &ssl_batch) -> Result<WorkspaceSize> {
        let shape = Shape::check(batch, &self.problem)?;
        Ok(self.backend.workspace_size(&shape))
    }

    /// Forward, with gradients or without, or backward: they differ in what they check
    /// and in what the backend then computes.
    ///
    /// # Safety
    /// The pointers lead to what the header says.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn step(
        &self,
        call: Call,
        batch: &ssl_batch,
        candidates: &ssl_candidates,
        loss: &ssl_loss,
        gradients: Option<&ssl_gradients>,
        workspace: *mut c_void,
        workspace_size: usize,
        stream: *mut c_void,
    ) -> Result<()> {
        self.backend.check_stream(stream)?;
        let mut regions = Regions::new();
        // SAFETY: the caller's promise.
        let (batch, candidates) = unsafe {
            let batch = Batch::check(batch, &self.problem, &mut regions)?;
            let labels = batch.labels.len();
            (batch, Candidates::check(candidates, &self.problem, labels, call, &mut regions)?)
        };
        let loss = LossOutputs::check(loss, &self.problem, &batch.shape, call, &mut regions)?;
        let gradients = gradients
            .map(|gradients| GradientOutputs::check(gradients, &self.problem, &batch.shape, &mut regions))
            .transpose()?;

        let size = self.backend.workspace_size(&batch.shape);
        let need = if gradients.is_some() { size.backward } else { size.forward };
        if workspace_size < need {
            return Err(Error::Workspace { need, got: workspace_size });
        }
        if workspace.is_null() {
            return Err(Error::NullPointer("workspace"));
        }
        regions.add(Region::flat("workspace", workspace.cast::<u8>(), need, true))?;

        batch.check_labels()?;
        if candidates.draws {
            // SAFETY: as above.
            unsafe { self.draw(&batch.labels, batch.ignored, &candidates)? };
        } else {
            candidates.check_given(&batch)?;
        }
        let step = Step {
            problem: &self.problem,
            forward: call == Call::Forward,
            batch: &batch,
            candidates: &candidates,
            loss,
            gradients,
        };
        // SAFETY: as above; the workspace is as large as the backend asked.
        unsafe { self.backend.run(&step, workspace.cast()) }
    }

    /// # Safety
    /// The arrays of `candidates` exist and are not borrowed.
    unsafe fn draw(
        &self,
        labels: &Labels<'_>,
        ignored: Option<i64>,
        candidates: &Candidates<'_>,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        let (ids, sampled, expected_true, learned) = unsafe {
            (
                candidates.ids_mut(),
                candidates.sampled_counts_mut(),
                candidates.true_counts_mut(),
                candidates.learned_counts_mut(),
            )
        };
        let Some(ids) = ids else {
            return self.sampler.save_learned(learned.ok_or(Error::NullPointer("ids"))?);
        };
        let tries = self.sampler.draw(Draw {
            step: candidates.step,
            labels: *labels,
            num_true: self.problem.num_true as usize,
            ignored,
            exclude_labels: self.problem.hits == Hits::Exclude,
            avoid: candidates.avoid,
            ids,
            sampled,
            expected_true,
            learned,
        })?;
        if !candidates.num_tries.is_null() {
            // SAFETY: aligned by `check`, writable by the caller's promise.
            unsafe { candidates.num_tries.write(tries) };
        }
        Ok(())
    }
}
