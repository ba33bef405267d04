//! A case: handles made, used in any order by one thread or several, and destroyed, every
//! call judged by the rules.

use std::ptr::null_mut;

use sampled_softmax::abi::*;
use sampled_softmax::capi::*;

use super::choices::Choices;
use super::config::{Attempt, Dims, Model};
use super::counts::Counts;
use super::faults::Faults;
use super::form::Form;
use super::memory::{Memory, Place};
use super::rules::Call;
use super::step::{Kind, Step};
use crate::common::last_error;

/// What cases need again and again, and what they have been through.
#[derive(Default)]
pub struct Session {
    /// Of calls, and of configurations.
    pub(super) memory: [Memory; 2],
    pub counts: Counts,
    is_traced: bool,
    /// The last handle that was destroyed.
    destroyed: usize,
    /// Compared with the reference.
    pub compared: u64,
}

/// A handle and what the rules know of it.
struct Live {
    handle: *mut ssl_handle,
    model: Model,
}

// SAFETY: the header lets several threads use one handle at once.
unsafe impl Sync for Live {}
// SAFETY: as above.
unsafe impl Send for Live {}

/// Workspace sizes as the library gave them, or the status with which it refused.
type Sizes = Result<[usize; 2], ssl_status>;

impl Session {
    /// One that prints every call before it is made.
    pub fn traced() -> Session {
        Session { is_traced: true, ..Session::default() }
    }

    /// Runs the case that bytes decode to on an engine. Panics where a rule is broken.
    pub fn run(&mut self, bytes: &[u8], backend: u32) {
        let mut choices = Choices::new(bytes);
        let dims = Dims::new(&mut choices);
        let mut live = Vec::new();
        for _ in 0..1 + choices.below(3) {
            live.extend(self.create(&mut choices, dims, backend));
        }
        if choices.one_in(64) {
            self.run_on_threads(&mut choices, &live);
        }
        while !choices.is_exhausted() {
            match choices.below(64) {
                0 => self.call_without_a_handle(&mut choices),
                1 if !live.is_empty() => self.destroy(live.swap_remove(0)),
                2 => live.extend(self.create(&mut choices, dims, backend)),
                _ if live.is_empty() => live.extend(self.create(&mut choices, dims, backend)),
                _ => self.calls(&mut choices, &live),
            }
        }
        live.into_iter().for_each(|live| self.destroy(live));
    }

    /// Several threads, each with arguments of its own, over the same handles.
    fn run_on_threads(&mut self, choices: &mut Choices, live: &[Live]) {
        let is_traced = self.is_traced;
        let parts = choices.split(3);
        let sessions: Vec<Session> = std::thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .map(|mut choices| {
                    scope.spawn(move || {
                        let mut session = Session { is_traced, ..Session::default() };
                        while !live.is_empty() && !choices.is_exhausted() {
                            session.calls(&mut choices, live);
                        }
                        session
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a rule was broken")).collect()
        });
        for session in &sessions {
            self.counts.merge(&session.counts);
            self.compared += session.compared;
        }
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{}", text());
        }
    }

    /// Judges an answer; what was to be true of it is said by `text` where it is not.
    pub(super) fn judge(
        &mut self,
        backend: u32,
        function: &'static str,
        status: ssl_status,
        faults: &Faults,
        text: impl Fn() -> String,
    ) {
        self.counts.add(backend, function, status);
        let message = if status == SSL_STATUS_OK { String::new() } else { last_error() };
        self.trace(|| format!("    = {status} {message}"));
        if let Err(complaint) = faults.judge(status, &message) {
            panic!("{function} {complaint}\n{}", text());
        }
        assert!(status == SSL_STATUS_OK || !message.is_empty(), "{function} gave {status} without a message");
    }

    fn create(&mut self, choices: &mut Choices, dims: Dims, backend: u32) -> Option<Live> {
        let mut attempt = Attempt::new(choices, dims, backend);
        let (mut faults, model) = attempt.rules();
        let memory = &mut self.memory[1];
        memory.clear();
        let mut place =
            |bytes: usize, shift: usize| memory.place(bytes, Place { at_end: true, shift, scratch: false });
        let config = &mut attempt.config;
        if let Some(weights) = &attempt.unigrams {
            let shift = if choices.one_in(100) { 4 } else { 0 };
            let at = place(size_of_val(&weights[..]), shift).cast::<f64>();
            // SAFETY: as many bytes are there, at any address.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    weights.as_ptr().cast::<u8>(),
                    at.cast(),
                    size_of_val(&weights[..]),
                )
            };
            config.unigrams = at;
            faults.must_if(
                shift > 0 && config.vocab_file.is_null() && attempt.vocab_file.is_none(),
                SSL_STATUS_ALIGNMENT,
                "unigrams",
            );
        }
        if let Some(counts) = &attempt.learned_counts {
            let at = place(size_of_val(&counts[..]), 0).cast::<i64>();
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(counts.as_ptr(), at, counts.len()) };
            config.learned_counts = at;
        }
        if let Some(path) = attempt.vocab_file {
            let at = place(path.len(), 0).cast::<u8>();
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(path.as_ptr(), at, path.len()) };
            config.vocab_file = at.cast();
        }
        let known = size_of::<ssl_config>();
        let mut form = Form::new(choices, known);
        if form.size < known as u32 && !form.is_wrong() {
            // What the shorter struct lacks would change what is right; the tests of
            // struct sizes look at that.
            form.size = known as u32;
        }
        faults.must_if(form.is_null, SSL_STATUS_NULL_POINTER, "config");
        faults.must_if(form.is_wrong(), SSL_STATUS_STRUCT_SIZE, "config.struct_size");
        let placed = form.place(choices, memory, &attempt.config);
        let shift = if choices.one_in(16) { 1 } else { 0 };
        let out = memory.place(8, Place { at_end: false, shift, scratch: false }).cast::<*mut ssl_handle>();
        let out = if choices.one_in(100) { null_mut() } else { out };
        faults.must_if(out.is_null(), SSL_STATUS_NULL_POINTER, "out_handle");
        if backend == SSL_BACKEND_CUDA {
            faults.may(SSL_STATUS_DEVICE_MEMORY, "memory");
        }

        self.trace(|| format!("ssl_create {form:?} {attempt:?}"));
        self.memory[1].snapshot();
        // SAFETY: everything is there as the header asks.
        let status = unsafe { ssl_create(placed, out) };
        self.judge(backend, "ssl_create", status, &faults, || format!("{attempt:?}"));
        let written = out as usize..out as usize + if status == SSL_STATUS_OK { 8 } else { 0 };
        assert_eq!(self.memory[1].changed(&[written]), None, "ssl_create wrote elsewhere: {attempt:?}");
        if status != SSL_STATUS_OK {
            return None;
        }
        // SAFETY: written by the call.
        let handle = unsafe { out.read_unaligned() };
        assert!(!handle.is_null());
        Some(Live { handle, model })
    }

    fn destroy(&mut self, live: Live) {
        self.trace(|| format!("ssl_destroy {:?}", live.handle));
        let status = ssl_destroy(live.handle);
        self.destroyed = live.handle as usize;
        self.judge(live.model.backend, "ssl_destroy", status, &Faults::default(), String::new);
    }

    /// What is refused in place of a handle.
    pub(super) fn no_handle(&self, choices: &mut Choices, faults: &mut Faults) -> *mut ssl_handle {
        let handle = match choices.below(4) {
            0 => null_mut(),
            1 => choices.wild() as *mut ssl_handle,
            2 => self.memory[0].some_address() as *mut ssl_handle,
            _ => self.destroyed as *mut ssl_handle,
        };
        match handle.is_null() {
            true => faults.must(SSL_STATUS_NULL_POINTER, "handle"),
            false => faults.must(SSL_STATUS_INVALID_VALUE, "handle"),
        }
        handle
    }

    /// Arguments, and some calls with them on handles that they fit.
    fn calls(&mut self, choices: &mut Choices, live: &[Live]) {
        let first = &live[choices.below(live.len())];
        self.memory[0].clear();
        let mut step = Step::new(choices, &mut self.memory[0], &first.model);
        let sizes = self.workspace_sizes(&step, first);
        self.place_workspace(choices, &mut step, &sizes);
        if choices.one_in(200) && first.model.backend == SSL_BACKEND_CPU {
            step.stream = choices.pick(&[1, 2, 64]) as *mut _;
        }
        let alike = |other: &&Live| format!("{:?}", other.model.dims) == format!("{:?}", first.model.dims);
        let others: Vec<&Live> = live.iter().filter(alike).collect();
        let (mut last, mut forward_on) = (None, None);
        for _ in 0..1 + choices.below(4) {
            let on = if choices.one_in(4) { others[choices.below(others.len())] } else { first };
            let kind = match last {
                Some(Kind::Forward) if !choices.one_in(3) => Kind::Backward,
                _ => choices.pick(&[
                    Kind::Forward,
                    Kind::Forward,
                    Kind::ForwardBackward,
                    Kind::ForwardBackward,
                    Kind::Backward,
                    Kind::Sample,
                ]),
            };
            if last.is_none() || choices.one_in(4) {
                step.set_source(choices, on.model.sampler);
            }
            let sizes = if std::ptr::eq(on, first) { sizes } else { self.workspace_sizes(&step, on) };
            let follows =
                kind == Kind::Backward && last == Some(Kind::Forward) && forward_on == Some(on.handle);
            let accepted = self.call(choices, kind, &step, on, &sizes, follows);
            last = accepted.then_some(kind);
            forward_on = Some(on.handle);
        }
    }

    fn place_workspace(&mut self, choices: &mut Choices, step: &mut Step, sizes: &Sizes) {
        let size = sizes.map_or(256, |[forward, backward]| forward.max(backward)).min(1 << 22);
        let at_end = choices.one_in(2);
        let shift = choices.below(64);
        step.workspace = self.memory[0].place(size, Place { at_end, shift, scratch: true });
        step.workspace_size = size;
        if choices.one_in(48) {
            match choices.below(4) {
                0 => step.workspace = null_mut(),
                1 => step.workspace_size = usize::from(choices.byte()),
                _ => step.workspace_size = size.saturating_sub(1),
            }
        }
    }

    fn workspace_sizes(&mut self, step: &Step, live: &Live) -> Sizes {
        let (mut forward, mut backward) = (usize::MAX, usize::MAX);
        let batch = step.batch;
        // A wrong form is for the calls to refuse; here it would be no size at all.
        let batch = ssl_batch { struct_size: size_of::<ssl_batch>() as u32, ..batch };
        self.trace(|| format!("ssl_workspace_size {:?} {batch:?}", live.handle));
        // SAFETY: all live.
        let status = unsafe { ssl_workspace_size(live.handle, &batch, &mut forward, &mut backward) };
        let call = Call { kind: Kind::Forward, step, model: &live.model, workspace: Ok(0) };
        let faults = call.size_faults();
        self.judge(live.model.backend, "ssl_workspace_size", status, &faults, || {
            format!("{batch:?} {:?}", live.model)
        });
        if status != SSL_STATUS_OK {
            assert_eq!((forward, backward), (usize::MAX, usize::MAX));
            return Err(status);
        }
        assert!(forward <= backward, "{forward} {backward}");
        Ok([forward, backward])
    }

    /// One call, judged; true if it was accepted.
    fn call(
        &mut self,
        choices: &mut Choices,
        kind: Kind,
        step: &Step,
        live: &Live,
        sizes: &Sizes,
        follows: bool,
    ) -> bool {
        let workspace =
            sizes.map(|[forward, backward]| if kind.has_gradients() { backward } else { forward });
        let call = Call { kind, step, model: &live.model, workspace };
        step.reset_outputs(live.model.dims, kind == Kind::Backward);
        let (mut faults, device) = call.faults();
        if !faults.are_certain() && call.looks_at_a_lie() {
            return false;
        }
        let memory = &mut self.memory[0];
        let mut gradients = step.gradients;
        if !gradients.update.is_null() {
            gradients.update = step.forms[4].place(choices, memory, &step.update);
        }
        let placed = (
            step.forms[0].place(choices, memory, &step.batch),
            step.forms[1].place(choices, memory, &step.candidates),
            step.forms[2].place(choices, memory, &step.loss),
            step.forms[3].place(choices, memory, &gradients),
        );
        let handle = match choices.one_in(200) {
            true => self.no_handle(choices, &mut faults),
            false => live.handle,
        };
        let memory = &mut self.memory[0];
        let text = || format!("{kind:?} {handle:?} {step:?} {:?}", live.model);
        memory.snapshot();
        self.trace(|| format!("{}\n    faults {faults:?}", text()));
        let (batch, candidates, loss, gradients) = placed;
        let Step { workspace, workspace_size: size, stream, .. } = *step;
        // SAFETY: everything is there as the header asks, or is refused before it is followed.
        let (function, status) = unsafe {
            match kind {
                Kind::Forward => {
                    ("ssl_forward", ssl_forward(handle, batch, candidates, loss, workspace, size, stream))
                }
                Kind::Backward => (
                    "ssl_backward",
                    ssl_backward(handle, batch, candidates, loss, gradients, workspace, size, stream),
                ),
                Kind::ForwardBackward => (
                    "ssl_forward_backward",
                    ssl_forward_backward(handle, batch, candidates, loss, gradients, workspace, size, stream),
                ),
                Kind::Sample => ("ssl_sample", ssl_sample(handle, batch, candidates, stream)),
            }
        };
        self.judge(live.model.backend, function, status, &faults, text);
        let accepted = status == SSL_STATUS_OK;
        let allowed = if accepted { call.writes() } else { Vec::new() };
        if let Some((address, start, len)) = self.memory[0].changed(&allowed) {
            panic!(
                "{function} gave {status} and wrote {address:#x}, beside or in {len} bytes at {start:#x}\n{}",
                text()
            );
        }
        if !accepted {
            return false;
        }
        if let Err(complaint) = call.check_results(&device) {
            panic!("{function} {complaint}\n{}", text());
        }
        let is_whole = kind == Kind::ForwardBackward || follows;
        if is_whole && choices.one_in(8) && device.is_empty() && call.has_reference() {
            self.trace(|| "    compared with the reference".into());
            call.compare_with_reference();
            self.compared += 1;
        }
        true
    }
}
