//! Worker slots: a place of its own for what each worker counts.
//!
//! A slot is claimed by process id. Its gauges (what is going on now) end with their worker; its
//! counters are shares of totals and go on under the slot's next owner.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use crate::shared::atomic::Word;
use crate::shared::counters::{ConnectionCount, Shard};
use crate::shared::endpoint::{ByEndpoint, EndpointId};
use crate::shared::process::Here;

/// How many workers have a slot, draining ones of earlier configurations included.
pub const SLOTS: usize = 256;

/// The slots of all workers, with what each counts.
#[repr(C)]
pub struct Slots {
    pub(super) slots: [Slot; SLOTS],
    /// By slot: the connections the worker has to each endpoint.
    connections: [ByEndpoint<ConnectionCount>; SLOTS],
}

/// One worker's slot. Aligned so that no two workers write to one cache line.
#[repr(C, align(128))]
pub(super) struct Slot {
    /// The owner's process id, 0 where there is none.
    pub(super) pid: AtomicU32,
    pub(super) pending: AtomicI64,
    waiting: AtomicI64,
    store: ConnectionCount,
    shard: Shard,
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
        self.store.forget();
    }

    fn take(&self, from: u32, to: u32) -> bool {
        self.pid.exchange(from, to).is_ok()
    }
}

impl Slots {
    /// Claims a slot for the process that is `here`, once at its start; `None` where all are taken
    /// by running processes.
    ///
    /// A process that has a slot keeps it. Slots of processes that are gone are freed on the way,
    /// so that what a killed worker had pending is forgotten as soon as its successor starts.
    pub fn claim(&self, here: Here<'_>) -> Option<u8> {
        let mut mine = self.slots.iter().position(|slot| slot.pid.get() == here.pid);
        for (number, slot) in self.slots.iter().enumerate() {
            let owner = slot.pid.get();
            if owner == here.pid || (owner != 0 && here.runs(owner)) {
                continue;
            }
            if mine.is_some() {
                slot.take(owner, 0);
            } else if slot.take(owner, here.pid) {
                mine = Some(number);
            }
        }
        // What it counts from now on is its own; a former owner's gauges were not seen while the
        // slot had none.
        let number = mine?;
        self.forget_gauges(number);
        u8::try_from(number).ok()
    }

    /// Gives a slot back when its process `pid` exits; changes nothing where another process owns
    /// it.
    pub fn release(&self, slot: u8, pid: u32) {
        let number = usize::from(slot);
        let slot = self.slot(slot);
        if slot.pid.get() == pid {
            self.forget_gauges(number);
            slot.take(pid, 0);
        }
    }

    fn forget_gauges(&self, number: usize) {
        self.slots[number].forget_gauges();
        self.connections[number].iter().for_each(ConnectionCount::forget);
    }

    /// Adds `delta` to the introspection calls queued or running in the worker that owns `slot`.
    pub fn pending_add(&self, slot: u8, delta: i64) {
        self.slot(slot).pending.fetch_add(delta, Ordering::Relaxed);
    }

    /// Adds `delta` to the requests that wait for an answer in the worker that owns `slot`.
    pub fn waiting_add(&self, slot: u8, delta: i64) {
        self.slot(slot).waiting.fetch_add(delta, Ordering::Relaxed);
    }

    /// The numbers and the owners of the slots that have one.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (u8, u32)> {
        let slots = (0..=u8::MAX).zip(&self.slots);
        slots.map(|(number, slot)| (number, slot.pid.get())).filter(|(_, pid)| *pid != 0)
    }

    /// Sums the gauges of the workers that still run.
    pub fn gauges(&self, here: Here<'_>) -> Gauges {
        let mut sums = Gauges::default();
        for slot in &self.slots {
            let pid = slot.pid.get();
            if pid != 0 && here.runs(pid) {
                sums.pending += count(&slot.pending);
                sums.waiting += count(&slot.waiting);
            }
        }
        sums
    }

    /// The share of the totals that is counted in a slot.
    pub(super) fn shard(&self, slot: u8) -> &Shard {
        &self.slot(slot).shard
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.slots.iter().map(|slot| &slot.shard)
    }

    /// Returns where the worker that owns `slot` counts its connections to an endpoint; with
    /// `None`, to all that have no id.
    pub fn connections(
        &self,
        slot: u8,
        endpoint: impl Into<Option<EndpointId>>,
    ) -> &ConnectionCount {
        self.connections[usize::from(slot)].of(endpoint.into())
    }

    /// Returns where the worker that owns `slot` counts its connections to the fleet's store.
    pub fn store_connections(&self, slot: u8) -> &ConnectionCount {
        &self.slot(slot).store
    }

    fn slot(&self, slot: u8) -> &Slot {
        &self.slots[usize::from(slot)]
    }
}

fn count(gauge: &AtomicI64) -> u64 {
    u64::try_from(gauge.load(Ordering::Relaxed)).unwrap_or(0)
}
