//! Worker slots: a place of its own for what each worker counts.
//!
//! A slot is claimed by process id. Its gauges (what is going on now) end with their worker; its
//! counters are shares of totals and go on under the slot's next owner.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use super::{State, Word};
use crate::metrics::Shard;

/// How many workers have a slot, draining ones of earlier configurations included.
pub const SLOTS: usize = 256;

/// One worker's slot. Aligned so that no two workers write to one cache line.
#[repr(C, align(128))]
pub(crate) struct Slot {
    /// The owner's process id, 0 where there is none.
    pub(super) pid: AtomicU32,
    pub(super) pending: AtomicI64,
    waiting: AtomicI64,
    pub(crate) shard: Shard,
}

/// What is going on in all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Introspection calls queued or running.
    pub pending: u64,
    /// Requests that wait for an answer.
    pub waiting: u64,
}

impl Slot {
    fn forget_gauges(&self) {
        self.pending.store(0, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
    }

    fn take(&self, from: u32, to: u32) -> bool {
        self.pid.exchange(from, to).is_ok()
    }
}

impl State {
    /// Claims a slot for the process `pid`, once at its start; `None` where all are taken by
    /// running processes.
    ///
    /// A process that has a slot keeps it. Slots of processes that are gone are freed on the way,
    /// so that what a killed worker had pending is forgotten as soon as its successor starts.
    pub fn claim(&self, pid: u32, alive: impl Fn(u32) -> bool) -> Option<u8> {
        let slots = &self.layout().slots;
        let mut mine = slots.iter().position(|slot| slot.pid.get() == pid);
        for (number, slot) in slots.iter().enumerate() {
            let owner = slot.pid.get();
            if owner == pid || (owner != 0 && alive(owner)) {
                continue;
            }
            if mine.is_some() {
                slot.take(owner, 0);
            } else if slot.take(owner, pid) {
                mine = Some(number);
            }
        }
        // What it counts from now on is its own; a former owner's gauges were not seen while the
        // slot had none.
        let number = mine?;
        self.forget_gauges(number);
        u8::try_from(number).ok()
    }

    /// Gives a slot back when its process exits.
    pub fn release(&self, slot: u8, pid: u32) {
        let number = usize::from(slot);
        let slot = self.slot(slot);
        if slot.pid.get() == pid {
            self.forget_gauges(number);
            slot.take(pid, 0);
        }
    }

    fn forget_gauges(&self, number: usize) {
        self.layout().slots[number].forget_gauges();
        self.layout().connections[number].forget();
    }

    /// Adds to the introspection calls queued or running in the worker that owns `slot`.
    pub fn pending_add(&self, slot: u8, delta: i64) {
        self.slot(slot).pending.fetch_add(delta, Ordering::Relaxed);
    }

    /// Adds to the requests that wait for an answer in the worker that owns `slot`.
    pub fn waiting_add(&self, slot: u8, delta: i64) {
        self.slot(slot).waiting.fetch_add(delta, Ordering::Relaxed);
    }

    /// The numbers and the owners of the slots that have one.
    pub(crate) fn owned_slots(&self) -> impl Iterator<Item = (u8, u32)> {
        let slots = (0..=u8::MAX).zip(&self.layout().slots);
        slots.map(|(number, slot)| (number, slot.pid.get())).filter(|(_, pid)| *pid != 0)
    }

    /// The sums over the slots of running workers.
    pub fn gauges(&self, alive: impl Fn(u32) -> bool) -> Gauges {
        let mut sums = Gauges::default();
        for slot in &self.layout().slots {
            let pid = slot.pid.get();
            if pid != 0 && alive(pid) {
                sums.pending += count(&slot.pending);
                sums.waiting += count(&slot.waiting);
            }
        }
        sums
    }

    pub(crate) fn slot(&self, slot: u8) -> &'static Slot {
        &self.layout().slots[usize::from(slot)]
    }
}

fn count(gauge: &AtomicI64) -> u64 {
    u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or(0)
}
