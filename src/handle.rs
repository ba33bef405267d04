//! What `ssl_create` makes: a problem, a sampler and a backend, and the order in which
//! a call goes through them. Everything is checked before anything is written.

use std::sync::Arc;

use libc::c_void;

use crate::abi::{ssl_batch, ssl_candidates, ssl_config, ssl_gradients, ssl_loss};
use crate::allocation::check_room;
use crate::args::{self, Batch, Call, Candidates, GradientOutputs, LossOutputs, Problem, Setup, Shape};
use crate::backend::{self, Engine, Sample, Step, WorkspaceSize};
use crate::error::{Error, Result};
use crate::labels::LabelArray;
use crate::memory::{Region, Regions};
use crate::sampler::Sampler;

pub(crate) struct Handle {
    problem: Problem,
    // Before the sampler, which it may be drawing from.
    engine: Box<dyn Engine>,
    sampler: Arc<Sampler>,
}

impl Handle {
    /// # Safety
    /// The pointers of `config` lead to what `ssl_config` says.
    pub(crate) unsafe fn create(config: &ssl_config) -> Result<Handle> {
        check_room("a handle")?;
        // SAFETY: the caller's promise.
        let Setup { problem, sampler, backend, device, num_threads } = unsafe { Setup::check(config)? };
        backend::available(backend)?;
        let sampler = Arc::new(Sampler::new(sampler)?);
        check_room("the engine of a handle")?;
        let engine = backend::create(backend, device, num_threads, &problem, &sampler)?;
        Ok(Handle { problem, engine, sampler })
    }

    /// # Safety
    /// The pointers lead to what the header says.
    pub(crate) unsafe fn sample(
        &self,
        batch: Option<&ssl_batch>,
        candidates: &ssl_candidates,
        stream: *mut c_void,
    ) -> Result<()> {
        let mut regions = Regions::new();
        let (labels, ignored) = match batch {
            Some(batch) => args::labels(batch, &self.problem, &mut regions)?,
            None => (LabelArray::NONE, None),
        };
        // SAFETY: the caller's promise, here and below.
        let candidates = unsafe {
            Candidates::check(candidates, &self.problem, labels.count, Call::Sample, &mut regions)?
        };
        let (problem, sampler) = (&self.problem, &*self.sampler);
        let sample = Sample { problem, sampler, labels, ignored, candidates: &candidates, stream };
        // SAFETY: as above.
        unsafe { self.engine.sample(&sample) }
    }

    pub(crate) fn workspace_size(&self, batch: &ssl_batch) -> Result<WorkspaceSize> {
        let shape = Shape::check(batch, &self.problem)?;
        self.engine.workspace_size(&self.problem, &shape)
    }

    /// Forward, with gradients or without, or backward: they differ in what they check
    /// and in what the engine then computes.
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
        let mut regions = Regions::new();
        let batch = Batch::check(batch, &self.problem, &mut regions)?;
        // SAFETY: the caller's promise.
        let candidates =
            unsafe { Candidates::check(candidates, &self.problem, batch.labels.count, call, &mut regions)? };
        let loss = LossOutputs::check(loss, &self.problem, &batch.shape, call, &mut regions)?;
        // SAFETY: the caller's promise.
        let gradients = gradients
            .map(|gradients| unsafe {
                GradientOutputs::check(gradients, &self.problem, &batch, &mut regions)
            })
            .transpose()?;

        let size = self.engine.workspace_size(&self.problem, &batch.shape)?;
        let need = if gradients.is_some() { size.backward } else { size.forward };
        if workspace_size < need {
            return Err(Error::Workspace { need, got: workspace_size });
        }
        if workspace.is_null() {
            return Err(Error::NullPointer("workspace"));
        }
        regions.add(Region::flat("workspace", workspace.cast::<u8>(), need, true))?;

        let step = Step {
            problem: &self.problem,
            sampler: &self.sampler,
            forward: call == Call::Forward,
            batch: &batch,
            candidates: &candidates,
            loss,
            gradients,
            workspace: workspace.cast(),
            stream,
        };
        // SAFETY: as above; the workspace is as large as the engine asked.
        unsafe { self.engine.run(&step) }
    }
}
