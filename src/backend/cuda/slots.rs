//! Pinned memory that draws pass through on their way to the device. A slot is written by
//! one draw and read by copies on a stream; it serves again when the event behind them
//! has come. All are made with the handle.

use std::collections::VecDeque;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::arguments::{Address, DrawInfo};
use super::capture::HostDraw;
use super::context::{Device, Entered};
use super::pinned::{DeviceMemory, Pinned};
use super::pointers::Stream;
use super::stream::Event;
use crate::allocation::reserve_exact;
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::sampler::{Counts, Draw, ExpectedCount, Sampler};

/// Slots for calls: one that is drawn ahead, one that is copied, two to spare.
const FOR_CALLS: usize = 4;

/// Slots that graphs may own, fewer where they would be large.
const FOR_GRAPHS: usize = 8;

/// Bytes that the slots for graphs may take together, beyond the first.
const GRAPHS_BYTES: usize = 64 << 20;

/// Bytes of one label, and of its expected count.
const OF_LABEL: usize = 8;

/// Where the parts of a slot lie, in host memory that the device reaches too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) info: *mut DrawInfo,
    /// `[S]`.
    pub(super) ids: *mut i64,
    /// `[S]`, float64 or float32.
    pub(super) counts: *mut u8,
    /// As the caller has them; NULL where there is no room for any.
    pub(super) labels: *mut u8,
    /// Of the labels.
    pub(super) true_counts: *mut u8,
    /// What the device draws in, where it draws.
    pub(super) scratch: Address,
}

// SAFETY: addresses; whoever has the slot, or runs the draw it is in, may use them.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Room for one draw.
pub(super) struct Slot {
    /// [`DrawInfo`], then ids `[S]`, then their expected counts `[S]`, float64 at most.
    memory: Pinned,
    /// Labels, then their expected counts, where the draw depends on labels.
    labels: Option<Pinned>,
    /// None where the host draws.
    scratch: Option<DeviceMemory>,
    event: Event,
    num_sampled: usize,
    /// The classes to avoid, for `task`.
    pub(super) avoid: Vec<i64>,
    /// What the stream will call, if the draw waits for it.
    pub(super) task: Option<HostDraw>,
}

impl Slot {
    fn new(device: &Arc<Device>, num_sampled: usize, scratch: usize) -> Result<Box<Slot>> {
        let memory = Pinned::new(device, Slot::bytes(num_sampled), "a draw of the sampler")?;
        let scratch = match scratch {
            0 => None,
            bytes => Some(DeviceMemory::new(device, bytes, "draws on the device")?),
        };
        let (event, avoid) = (Event::new(device)?, Vec::new());
        Ok(Box::new(Slot { memory, labels: None, scratch, event, num_sampled, avoid, task: None }))
    }

    fn bytes(num_sampled: usize) -> usize {
        size_of::<DrawInfo>() + num_sampled * 2 * size_of::<i64>()
    }

    /// Addresses of all of it.
    pub(super) fn memory(&self) -> Memory {
        let labels = self.labels.as_ref().map_or(ptr::null_mut(), Pinned::data);
        // SAFETY: inside the memory, see `memory` and `labels`; NULL moves by 0.
        unsafe {
            let ids = self.memory.data().add(size_of::<DrawInfo>());
            Memory {
                info: self.memory.data().cast(),
                ids: ids.cast(),
                counts: ids.add(self.num_sampled * size_of::<i64>()),
                labels,
                true_counts: labels.add(self.room_for_labels() * OF_LABEL),
                scratch: self.scratch.as_ref().map_or(0, DeviceMemory::address),
            }
        }
    }

    /// Labels that there is room for.
    pub(super) fn room_for_labels(&self) -> usize {
        self.labels.as_ref().map_or(0, |labels| labels.bytes() / (2 * OF_LABEL))
    }

    /// Makes room for labels; that allocates, where more come than before.
    pub(super) fn make_room(&mut self, device: &Arc<Device>, labels: usize) -> Result<()> {
        if self.labels.is_none() || self.room_for_labels() < labels {
            let bytes = labels.max(1) * 2 * OF_LABEL;
            self.labels = Some(Pinned::new(device, bytes, "the labels of a draw that depends on them")?);
        }
        Ok(())
    }

    /// Copies the classes to avoid. The memory of an earlier list serves again.
    pub(super) fn keep(&mut self, avoid: &[i64]) -> Result<()> {
        if let Some(task) = self.task.take() {
            self.avoid = task.avoid;
        }
        self.avoid.clear();
        reserve_exact(&mut self.avoid, avoid.len(), "the classes to avoid")?;
        self.avoid.extend_from_slice(avoid);
        Ok(())
    }

    /// Makes the slot ready for draws on the device, of which none has been made.
    pub(super) fn begin_on_device(&mut self) {
        // SAFETY: at the beginning of the memory, and the slot is borrowed.
        unsafe { self.memory().info.write(DrawInfo { tries: -1, status: 0, pad: 0, replays: 0 }) };
    }

    /// Draws into the slot; gives the tries and how counts follow from probabilities.
    pub(super) fn draw(
        &mut self,
        sampler: &Sampler,
        step: u64,
        double: bool,
        avoid: &[i64],
    ) -> Result<(i64, ExpectedCount)> {
        let (count, memory) = (self.num_sampled, self.memory());
        // SAFETY: [S] each, and the slot is borrowed for as long as they live.
        let (ids, counts) = unsafe {
            (std::slice::from_raw_parts_mut(memory.ids, count), counts_mut(memory.counts, count, double))
        };
        let drawn = sampler.draw_with_rule(Draw {
            step,
            labels: Labels::I64(&[]),
            num_true: 1,
            ignored: None,
            exclude_labels: false,
            avoid,
            ids,
            sampled: Some(counts),
            expected_true: None,
            learned: None,
        })?;
        // SAFETY: as above.
        unsafe { memory.info.write(DrawInfo { tries: drawn.0, status: 0, pad: 0, replays: 0 }) };
        Ok(drawn)
    }
}

/// Expected counts of either type.
///
/// # Safety
/// `data` leads to `count` of them, which nobody else uses while they are borrowed.
pub(super) unsafe fn counts_mut<'a>(data: *mut u8, count: usize, double: bool) -> Counts<'a> {
    // SAFETY: the caller's promise.
    unsafe {
        match double {
            true => Counts::F64(std::slice::from_raw_parts_mut(data.cast(), count)),
            false => Counts::F32(std::slice::from_raw_parts_mut(data.cast(), count)),
        }
    }
}

/// The slots of a handle.
pub(super) struct Pool {
    device: Arc<Device>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Boxed, for streams and graphs know a slot's address.
#[allow(clippy::vec_box)]
type Slots = Vec<Box<Slot>>;

#[derive(Default)]
struct State {
    free: Slots,
    /// With copies on a stream, the oldest first.
    in_flight: VecDeque<Box<Slot>>,
    /// Of a stream that failed: nobody knows what still reads them.
    retired: Slots,
    for_graphs: Slots,
    /// The handle is gone; only graphs still hold slots.
    closed: bool,
}

/// Slots that a graph gave back when their handle was gone already. Graphs are destroyed
/// where nothing may call CUDA, so that the memory waits here for the next handle that is
/// made or destroyed.
static ABANDONED: Mutex<Slots> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frees what graphs have left behind.
pub(super) fn free_abandoned() {
    let abandoned = std::mem::take(&mut *lock(&ABANDONED));
    drop(abandoned);
}

impl Pool {
    /// With `scratch` bytes of device memory for each slot.
    pub(super) fn new(device: &Arc<Device>, num_sampled: usize, scratch: usize) -> Result<Arc<Pool>> {
        let mut state = State::default();
        for _ in 0..FOR_CALLS {
            state.free.push(Slot::new(device, num_sampled, scratch)?);
        }
        let for_graphs = (GRAPHS_BYTES / (Slot::bytes(num_sampled) + scratch)).clamp(1, FOR_GRAPHS);
        for _ in 0..for_graphs {
            state.for_graphs.push(Slot::new(device, num_sampled, scratch)?);
        }
        Ok(Arc::new(Pool { device: device.clone(), state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// A slot that nothing reads any more. Where the device is so far behind that there is
    /// none, waits for the oldest copies.
    pub(super) fn take(&self) -> Result<Box<Slot>> {
        let entered = self.device.enter()?;
        let _relaxed = entered.relaxed()?;
        let mut state = lock(&self.state);
        loop {
            if let Some(slot) = state.free.pop() {
                return Ok(slot);
            }
            for place in 0..state.in_flight.len() {
                if state.in_flight[place].event.is_done(&entered)?
                    && let Some(slot) = state.in_flight.remove(place)
                {
                    return Ok(slot);
                }
            }
            if let Some(slot) = state.in_flight.pop_front() {
                drop(state);
                return match slot.event.synchronize(&entered) {
                    Ok(()) => Ok(slot),
                    Err(error) => {
                        lock(&self.state).retired.push(slot);
                        Err(error)
                    }
                };
            }
            if state.retired.len() == FOR_CALLS {
                return Err(Error::Launch(
                    "no memory for draws is left: earlier copies to the device failed".into(),
                ));
            }
            // Other threads are about to put theirs on a stream.
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives back a slot that no stream has seen.
    pub(super) fn give_back(&self, slot: Box<Slot>) {
        lock(&self.state).free.push(slot);
        self.changed.notify_all();
    }

    /// Gives back a slot that work on `stream` still reads.
    pub(super) fn give_back_after(
        &self,
        slot: Box<Slot>,
        entered: &Entered<'_>,
        stream: Stream,
    ) -> Result<()> {
        let recorded = slot.event.record(entered, stream);
        let mut state = lock(&self.state);
        match recorded {
            Ok(()) => state.in_flight.push_back(slot),
            Err(_) => state.retired.push(slot),
        }
        self.changed.notify_all();
        recorded
    }

    /// Puts away a slot of a call that failed half way: what it put on the stream may
    /// still read it.
    pub(super) fn retire(&self, slot: Box<Slot>) {
        lock(&self.state).retired.push(slot);
        self.changed.notify_all();
    }

    /// A slot for a graph to own, with room for `labels`.
    pub(super) fn take_for_graph(&self, labels: usize) -> Result<Box<Slot>> {
        let mut state = lock(&self.state);
        match state.for_graphs.pop() {
            Some(slot) if labels == 0 || slot.room_for_labels() >= labels => Ok(slot),
            Some(slot) => {
                let room = slot.room_for_labels();
                state.for_graphs.push(slot);
                Err(Error::GraphCapture(format!(
                    "stream is being captured, and this draw depends on {labels} labels, but so far there was \
                     none of more than {room}: make the same call once outside of the capture first"
                )))
            }
            None => Err(Error::GraphCapture(
                "stream is being captured, and every draw that this handle can have in graphs is in one: destroy \
                 graphs, make another handle, or capture with ids of your own (SSL_CANDIDATES_GIVEN)"
                    .into(),
            )),
        }
    }

    /// Makes the graphs' slots as large as a call outside of a capture needs its own.
    pub(super) fn make_room_for_graphs(&self, labels: usize) -> Result<()> {
        let mut state = lock(&self.state);
        state.for_graphs.iter_mut().try_for_each(|slot| slot.make_room(&self.device, labels))
    }

    /// Takes a slot back from a graph; called where nothing may call CUDA.
    pub(super) fn give_back_from_graph(&self, mut slot: Box<Slot>) {
        slot.task = None;
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            lock(&ABANDONED).push(slot);
        } else {
            state.for_graphs.push(slot);
        }
    }

    /// Waits for the streams to have done with the slots, and frees them.
    pub(super) fn close(&self) {
        let mut state =
            std::mem::replace(&mut *lock(&self.state), State { closed: true, ..State::default() });
        if let Ok(entered) = self.device.enter_anyway() {
            let _relaxed = entered.relaxed();
            for slot in state.in_flight.drain(..) {
                // Work of a device that failed will not come any more.
                let _ = slot.event.synchronize(&entered);
            }
        }
    }
}
