//! Coarse timeouts without a timer per request.
//!
//! A timer of the runtime costs a lock and an entry in its wheel each time it is set, moved and dropped, and a
//! request has several that hardly ever fire. Here a timeout is a slot in a table of this thread, and one task
//! looks over the table every [`TICK`].
//!
//! **Invariants.** A watch never expires before its time, as long as the thread is not stuck for more than a
//! tick, and at most two ticks after it. Slots are reused: the table is as long as the most watches that were
//! ever held at one time, which the bound on client connections bounds.
//!
//! Deliberately absent: more than one waiting task per watch (the last one polled is woken), and use from
//! another thread.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

/// How often expired watches are looked for: the precision of every timeout kept here.
pub const TICK: Duration = Duration::from_millis(100);

/// The timeouts of one thread. Clones are the same table.
#[derive(Debug, Clone)]
pub struct Deadlines {
    table: Rc<Table>,
}

/// One timeout. Clones are the same timeout; it is gone when the last of them is dropped.
#[derive(Debug)]
pub struct Watch {
    table: Rc<Table>,
    at: usize,
}

#[derive(Debug)]
struct Table {
    /// The last tick, from which timeouts are counted, so that setting one reads no clock.
    now: Cell<Instant>,
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    due: Instant,
    expired: bool,
    holders: usize,
    waker: Option<Waker>,
}

impl Deadlines {
    /// An empty table, and the task that looks it over for as long as anyone holds the table or a watch.
    ///
    /// # Panics
    /// Outside of a [`tokio::task::LocalSet`].
    pub fn new() -> Self {
        let deadlines = Self::unattended(Instant::now());
        tokio::task::spawn_local(attend(Rc::downgrade(&deadlines.table)));
        deadlines
    }

    fn unattended(now: Instant) -> Self {
        Self { table: Rc::new(Table { now: Cell::new(now), slots: RefCell::default() }) }
    }

    /// A timeout that expires `after` from now.
    pub fn watch(&self, after: Duration) -> Watch {
        let slot = Slot { due: self.table.due(after), expired: false, holders: 1, waker: None };
        let slots = &mut *self.table.slots.borrow_mut();
        let at = match slots.free.pop() {
            Some(at) => {
                slots.slots[at] = slot;
                at
            }
            None => {
                slots.slots.push(slot);
                slots.slots.len() - 1
            }
        };
        Watch { table: Rc::clone(&self.table), at }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// The tick under way has already lasted up to [`TICK`]: counting from its end is never too early.
    fn due(&self, after: Duration) -> Instant {
        let from = self.now.get() + TICK;
        from.checked_add(after).unwrap_or(from + FAR)
    }

    /// Expires what is due at `now`, and wakes who waits for it.
    fn sweep(&self, now: Instant) {
        self.now.set(now);
        let mut wakers = Vec::new();
        for slot in &mut self.slots.borrow_mut().slots {
            if slot.holders > 0 && !slot.expired && slot.due <= now {
                slot.expired = true;
                wakers.extend(slot.waker.take());
            }
        }
        // Not under the borrow: what is woken may look at its watch.
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// What stands for a timeout longer than the clock can count.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn attend(table: Weak<Table>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(table) = table.upgrade() else { return };
        table.sweep(Instant::now());
    }
}

impl Watch {
    /// Begins anew: it expires `after` from now, also where it had expired.
    pub fn extend(&self, after: Duration) {
        let slot = &mut self.table.slots.borrow_mut().slots[self.at];
        slot.due = self.table.due(after);
        slot.expired = false;
    }

    /// Whether it has expired; if not, the task is woken when it does.
    pub fn poll_expired(&self, cx: &Context<'_>) -> bool {
        let mut slots = self.table.slots.borrow_mut();
        let slot = &mut slots.slots[self.at];
        if slot.expired || slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return slot.expired;
        }
        let replaced = slot.waker.replace(cx.waker().clone());
        drop(slots);
        // Not under the borrow, as in [`Watch::drop`].
        drop(replaced);
        false
    }

    /// Waits until it expires.
    pub const fn expired(&self) -> Expired<'_> {
        Expired(self)
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        self.table.slots.borrow_mut().slots[self.at].holders += 1;
        Self { table: Rc::clone(&self.table), at: self.at }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut slots = self.table.slots.borrow_mut();
        let slot = &mut slots.slots[self.at];
        slot.holders -= 1;
        if slot.holders == 0 {
            let waker = slot.waker.take();
            slots.free.push(self.at);
            drop(slots);
            // A waker may hold the last reference to a task that holds watches of its own.
            drop(waker);
        }
    }
}

/// Waits until a [`Watch`] expires.
#[derive(Debug)]
pub struct Expired<'a>(&'a Watch);

impl Future for Expired<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.poll_expired(cx) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn expired(watch: &Watch) -> bool {
        watch.poll_expired(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn never_early_and_at_most_two_ticks_late() {
        let start = Instant::now();
        let deadlines = Deadlines::unattended(start);
        // Set at the very end of a tick.
        let watch = deadlines.watch(SECOND);
        deadlines.table.sweep(start + TICK + SECOND - Duration::from_millis(1));
        assert!(!expired(&watch));
        deadlines.table.sweep(start + TICK + SECOND);
        assert!(expired(&watch));
    }

    #[test]
    fn the_waiting_task_is_woken_once() {
        let start = Instant::now();
        let deadlines = Deadlines::unattended(start);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let watch = deadlines.watch(SECOND);
        assert!(!watch.poll_expired(&Context::from_waker(&waker)));
        deadlines.table.sweep(start + SECOND);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        deadlines.table.sweep(start + 2 * SECOND);
        deadlines.table.sweep(start + 3 * SECOND);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(watch.poll_expired(&Context::from_waker(&waker)));
    }

    #[test]
    fn extending_begins_anew() {
        let start = Instant::now();
        let deadlines = Deadlines::unattended(start);
        let watch = deadlines.watch(SECOND);
        deadlines.table.sweep(start + SECOND);
        watch.extend(SECOND);
        deadlines.table.sweep(start + 2 * SECOND);
        assert!(!expired(&watch));
        deadlines.table.sweep(start + 3 * SECOND);
        assert!(expired(&watch));
        watch.extend(SECOND);
        assert!(!expired(&watch));
    }

    #[test]
    fn clones_are_one_timeout_and_slots_are_reused() {
        let start = Instant::now();
        let deadlines = Deadlines::unattended(start);
        for _ in 0..1000 {
            let one = deadlines.watch(SECOND);
            let other = one.clone();
            drop(one);
            deadlines.table.sweep(start + 2 * SECOND);
            assert!(expired(&other));
            deadlines.table.sweep(start);
        }
        assert_eq!(deadlines.table.slots.borrow().slots.len(), 1);
    }

    #[test]
    fn a_timeout_beyond_the_clock_is_far_away() {
        let start = Instant::now();
        let deadlines = Deadlines::unattended(start);
        let watch = deadlines.watch(Duration::MAX);
        deadlines.table.sweep(start + 3600 * SECOND);
        assert!(!expired(&watch));
    }

    #[tokio::test]
    async fn the_sweeper_runs_by_itself_and_ends_with_the_table() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let deadlines = Deadlines::new();
                deadlines.watch(Duration::from_millis(1)).expired().await;
                let table = Rc::downgrade(&deadlines.table);
                drop(deadlines);
                assert!(table.upgrade().is_none());
            })
            .await;
    }
}
