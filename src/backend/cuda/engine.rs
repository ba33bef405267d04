//! A handle's device with all it keeps there, and the order of a call: everything is
//! checked and made ready before anything is put on the stream.

use std::sync::{Arc, OnceLock};

use libc::c_void;

use super::arguments::Address;
use super::catalogue::Catalogue;
use super::context::{Device, Entered};
use super::cublaslt::CublasLt;
use super::draw::Request;
use super::forward::Run;
use super::graph::CaptureState;
use super::launch::Queue;
use super::module::Modules;
use super::plan::{CHUNK_BYTES, Machine, Plan};
use super::pointers::Stream;
use super::sampling::Sampling;
use super::slots;
use super::wgmma;
use super::workspace::Workspace;
use crate::allocation::check_room_of;
use crate::args::{Candidates, Problem, RowList, Shape};
use crate::backend::{Sample, Step, WorkspaceSize};
use crate::error::{Error, Result};
use crate::labels::LabelArray;
use crate::memory::Tensor;
use crate::sampler::Sampler;

/// What cuBLASLt is given to work in, as NVIDIA advises for its larger devices.
const LIBRARY_WORKSPACE: usize = 32 << 20;

/// Above what a search for libraries, and what is kept of them, allocates.
const OPENING: usize = 1 << 20;

/// The engine on one device.
pub(super) struct OnDevice {
    // Before the device's memory and modules, on which its copies depend.
    sampling: Sampling,
    pub(super) library: OnceLock<Option<CublasLt>>,
    modules: Modules,
    catalogue: Catalogue,
    pub(super) machine: Machine,
    device: Arc<Device>,
}

impl OnDevice {
    pub(super) fn new(ordinal: i32, problem: &Problem, sampler: &Arc<Sampler>) -> Result<OnDevice> {
        slots::free_abandoned();
        check_room_of(OPENING, "opening a device")?;
        let device = Device::open(ordinal)?;
        let modules = Modules::new(&device)?;
        let machine = Machine {
            wgmma: wgmma::is_used(&device, &modules)?,
            arch: device.arch,
            sm_count: device.sm_count,
            max_shared: device.max_shared,
            chunk_bytes: CHUNK_BYTES,
            library_workspace: 0,
        };
        Ok(OnDevice {
            catalogue: Catalogue::new(&machine)?,
            modules,
            sampling: Sampling::new(&device, problem, sampler)?,
            library: OnceLock::new(),
            machine,
            device,
        })
    }

    /// # Safety
    /// `stream` is one of the caller's, or none.
    pub(super) unsafe fn check_stream(&self, stream: *mut c_void) -> Result<Stream> {
        // SAFETY: the caller's promise.
        unsafe { self.device.check_stream(stream) }
    }

    /// cuBLASLt, opened when it is first of use.
    fn library(&self) -> Result<Option<&CublasLt>> {
        if self.library.get().is_none() {
            check_room_of(OPENING, "opening cuBLASLt")?;
        }
        Ok(self.library.get_or_init(|| CublasLt::open(&self.device)).as_ref())
    }

    pub(super) fn plan(&self, problem: &Problem, shape: &Shape) -> Result<Plan> {
        let mut plan = Plan::new(&self.machine, &self.catalogue, problem, shape)?;
        if plan.suits_library() && self.library()?.is_some() {
            plan.machine.library_workspace = LIBRARY_WORKSPACE;
        }
        Ok(plan)
    }

    pub(super) fn workspace_size(&self, problem: &Problem, shape: &Shape) -> Result<WorkspaceSize> {
        let plan = self.plan(problem, shape)?;
        let forward = Workspace::measure(&plan, false);
        Ok(WorkspaceSize { forward, backward: Workspace::measure(&plan, true).max(forward) })
    }

    /// Whether work can be put on the stream, captured or not.
    fn check_capture(&self, entered: &Entered<'_>, stream: Stream) -> Result<()> {
        match entered.is_capturing(stream)? {
            CaptureState::Invalidated => Err(Error::GraphCapture(
                "stream: an earlier call has spoilt its capture; end it and begin another".into(),
            )),
            _ => Ok(()),
        }
    }

    /// # Safety
    /// The arrays of `step` exist on the device.
    pub(super) unsafe fn run(&self, step: &Step<'_>) -> Result<()> {
        // SAFETY: the stream is the caller's.
        let stream = unsafe { self.check_stream(step.stream)? };
        let plan = self.plan(step.problem, &step.batch.shape)?;
        let entered = self.device.enter()?;
        self.check_capture(&entered, stream)?;
        check_step_pointers(&entered, step)?;
        let rehearsal = Queue { entered: &entered, modules: &self.modules, stream, rehearsal: true };
        let queue = Queue { rehearsal: false, ..rehearsal };
        let mut run = Run {
            queue: &rehearsal,
            small: &self.catalogue.small,
            plan: &plan,
            step,
            buffers: Workspace::lay_out(&plan, step.gradients.is_some(), step.workspace as Address),
            library: self.library.get().and_then(Option::as_ref),
            info: 0,
            true_counts: None,
        };
        // SAFETY: a rehearsal touches no array.
        unsafe { run.enqueue()? };
        let (labels, ignored) = (step.batch.labels, step.batch.ignored);
        let request = Request { candidates: step.candidates, labels, ignored };
        let mut draw = match step.candidates.draws {
            true => Some(self.sampling.prepare(&entered, stream, request)?),
            false => None,
        };
        if let Some(draw) = &mut draw {
            // SAFETY: a rehearsal.
            unsafe { draw.enqueue(&rehearsal, &self.catalogue.small)? };
        }
        run.queue = &queue;
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(draw) = &mut draw {
                draw.enqueue(&queue, &self.catalogue.small)?;
                (run.info, run.true_counts) = (draw.late_info(), draw.true_counts());
            }
            run.enqueue()?;
            draw.map_or(Ok(()), |draw| draw.finish(&queue))
        }
    }

    /// # Safety
    /// The arrays of `sample` exist on the device.
    pub(super) unsafe fn sample(&self, sample: &Sample<'_>) -> Result<()> {
        let candidates = sample.candidates;
        // SAFETY: the stream is the caller's.
        let stream = unsafe { self.check_stream(sample.stream)? };
        if candidates.ids.is_null() {
            // SAFETY: host memory, as `ssl_candidates` says.
            return unsafe { sample.save_learned() };
        }
        let entered = self.device.enter()?;
        self.check_capture(&entered, stream)?;
        check_candidates(&entered, candidates)?;
        check_labels(&entered, &sample.labels)?;
        let queue = Queue { entered: &entered, modules: &self.modules, stream, rehearsal: false };
        let kernel = self.catalogue.small.true_counts;
        self.modules.get(&entered, stream, kernel)?;
        let request = Request { candidates, labels: sample.labels, ignored: sample.ignored };
        let mut draw = self.sampling.prepare(&entered, stream, request)?;
        // SAFETY: the caller's promise.
        unsafe {
            draw.enqueue(&Queue { rehearsal: true, ..queue }, &self.catalogue.small)?;
            draw.enqueue(&queue, &self.catalogue.small)?;
            if let Some(counts) = draw.true_counts() {
                queue.cover(kernel, sample.labels.count, kernel.rows, &counts)?;
            }
            draw.finish(&queue)
        }
    }
}

fn check_labels(entered: &Entered<'_>, labels: &LabelArray) -> Result<()> {
    if labels.count == 0 {
        return Ok(());
    }
    entered.check_pointer("labels", labels.data.cast())
}

fn check_tensor(entered: &Entered<'_>, name: &'static str, tensor: Option<&Tensor>) -> Result<()> {
    match tensor {
        Some(tensor) if tensor.rows > 0 => entered.check_pointer(name, tensor.data.cast()),
        _ => Ok(()),
    }
}

fn check_candidates(entered: &Entered<'_>, candidates: &Candidates<'_>) -> Result<()> {
    entered.check_pointer("ids", candidates.ids.cast())?;
    entered.check_pointer("step_pointer", candidates.step_pointer.cast())?;
    entered.check_pointer("sampled_expected_count", candidates.sampled_counts.cast())?;
    if candidates.num_labels == 0 {
        return Ok(());
    }
    entered.check_pointer("true_expected_count", candidates.true_counts.cast())
}

/// The device reaches every array of the call.
fn check_step_pointers(entered: &Entered<'_>, step: &Step<'_>) -> Result<()> {
    let (batch, loss) = (step.batch, &step.loss);
    check_tensor(entered, "inputs", Some(&batch.inputs))?;
    check_tensor(entered, "weights", Some(&batch.weights))?;
    check_tensor(entered, "biases", batch.biases.as_ref())?;
    check_tensor(entered, "sample_weights", batch.sample_weights.as_ref())?;
    check_labels(entered, &batch.labels)?;
    check_candidates(entered, step.candidates)?;
    check_tensor(entered, "loss", Some(&loss.loss))?;
    if batch.shape.rows > 0 {
        entered.check_pointer("log_sum_exp", loss.log_sum_exp.cast())?;
    }
    entered.check_pointer("device_status", loss.device_status.cast())?;
    entered.check_pointer("workspace", step.workspace.cast())?;
    let Some(gradients) = &step.gradients else { return Ok(()) };
    check_tensor(entered, "grad_output", gradients.grad_output.as_ref())?;
    check_tensor(entered, "d_inputs", gradients.d_inputs.as_ref())?;
    check_tensor(entered, "d_weights", gradients.d_weights.as_ref())?;
    check_tensor(entered, "d_biases", gradients.d_biases.as_ref())?;
    let RowList { row_ids, num_rows, .. } = gradients.layout.list();
    entered.check_pointer("row_ids", row_ids.cast())?;
    entered.check_pointer("num_rows", num_rows.cast())?;
    let Some(update) = gradients.update() else { return Ok(()) };
    check_tensor(entered, "update.learning_rate_pointer", update.learning_rate_pointer.as_ref())?;
    check_tensor(entered, "update.weights_state", update.weights_state.as_ref())?;
    check_tensor(entered, "update.biases_state", update.biases_state.as_ref())
}

impl Drop for OnDevice {
    fn drop(&mut self) {
        slots::free_abandoned();
    }
}
