//! What happened, told to whoever listens.
//!
//! ```text
//!  publish ─▶ ring of the last 256 ─▶ a queue per subscription ─▶ EventStream::recv
//! ```
//! - Publishing never blocks. A subscription whose queue is full ends: its client sees that it missed something.
//! - An event is in the ring and in all queues before `publish` returns, in one order for all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::event::{Actor, Event};

use crate::Canceller;

/// Events kept for `since`, as many as Docker keeps.
const KEPT: usize = 256;

/// Events that may wait for one subscriber.
const QUEUED: usize = 4096;

/// Kinds of objects, as `Type` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Daemon,
    Container,
    Image,
    Network,
    Volume,
    Builder,
}

impl Of {
    fn as_str(self) -> &'static str {
        match self {
            Of::Daemon => "daemon",
            Of::Container => "container",
            Of::Image => "image",
            Of::Network => "network",
            Of::Volume => "volume",
            Of::Builder => "builder",
        }
    }
}

/// The bus.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ring: VecDeque<Arc<Event>>,
    subscribers: Vec<Weak<Subscriber>>,
    last_time: i64,
    /// How often each has happened.
    counts: BTreeMap<(&'static str, String), u64>,
}

type Filter = Box<dyn Fn(&Event) -> bool + Send + Sync>;

struct Subscriber {
    filter: Filter,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscriber")
    }
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Bus {
    /// Tells everyone. `from` is the image of a container event; attributes are in any order.
    pub fn publish(&self, of: Of, action: &str, id: &str, attributes: api::Map<String>) {
        let from =
            if of == Of::Container { attributes.get("image").cloned().unwrap_or_default() } else { String::new() };
        let legacy = matches!(of, Of::Container | Of::Image);
        let mut inner = lock(&self.inner);
        let now = i64::try_from(logs::time::now_ns()).unwrap_or(i64::MAX);
        // Two events never have the same time, so that `since` can go on after one.
        let time_nano = now.max(inner.last_time + 1);
        inner.last_time = time_nano;
        // What an exec runs is part of its event's name.
        let counted = if action.starts_with("exec_") { action.split(':').next().unwrap_or(action) } else { action };
        *inner.counts.entry((of.as_str(), counted.to_owned())).or_default() += 1;
        let event = Arc::new(Event {
            status: if legacy { action.to_owned() } else { String::new() },
            id: if legacy { id.to_owned() } else { String::new() },
            from,
            kind: of.as_str().to_owned(),
            action: action.to_owned(),
            actor: Actor { id: id.to_owned(), attributes },
            scope: "local".to_owned(),
            time: time_nano / 1_000_000_000,
            time_nano,
        });
        if inner.ring.len() == KEPT {
            inner.ring.pop_front();
        }
        inner.ring.push_back(Arc::clone(&event));
        inner.subscribers.retain(|subscriber| subscriber.upgrade().is_some_and(|subscriber| subscriber.offer(&event)));
    }

    /// Events from `since_ns` on (`None`: from now) that pass the filter, up to `until_ns`.
    pub fn subscribe(
        &self,
        since_ns: Option<i64>,
        until_ns: Option<i64>,
        filter: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> EventStream {
        let mut inner = lock(&self.inner);
        let mut queue = Queue::default();
        if let Some(since) = since_ns {
            queue.events =
                inner.ring.iter().filter(|event| event.time_nano >= since && filter(event)).cloned().collect();
        }
        let subscriber =
            Arc::new(Subscriber { filter: Box::new(filter), queue: Mutex::new(queue), arrived: Condvar::new() });
        inner.subscribers.push(Arc::downgrade(&subscriber));
        EventStream { subscriber, until_ns }
    }

    /// How often each event has happened: type, action, count.
    pub fn counts(&self) -> Vec<(&'static str, String, u64)> {
        lock(&self.inner).counts.iter().map(|((of, action), count)| (*of, action.clone(), *count)).collect()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        lock(&self.inner).subscribers.iter().filter(|subscriber| subscriber.strong_count() > 0).count()
    }
}

impl Subscriber {
    /// Whether the subscription goes on.
    fn offer(&self, event: &Arc<Event>) -> bool {
        if !(self.filter)(event) {
            return true;
        }
        let mut queue = lock(&self.queue);
        if queue.events.len() >= QUEUED {
            queue.ended = true;
        }
        if !queue.ended {
            queue.events.push_back(Arc::clone(event));
        }
        self.arrived.notify_all();
        !queue.ended
    }
}

/// A subscription; dropping it ends it.
#[derive(Debug)]
pub struct EventStream {
    subscriber: Arc<Subscriber>,
    until_ns: Option<i64>,
}

impl EventStream {
    /// The next event; blocks. `None` at the end: `until` has come, it was cancelled, or it was too slow.
    pub fn recv(&self) -> Option<Arc<Event>> {
        let mut queue = lock(&self.subscriber.queue);
        loop {
            if let Some(event) = queue.events.pop_front() {
                return (self.until_ns.is_none_or(|until| event.time_nano <= until)).then_some(event);
            }
            if queue.ended {
                return None;
            }
            queue = match self.until_ns {
                None => self.subscriber.arrived.wait(queue).unwrap_or_else(|poison| poison.into_inner()),
                Some(until) => {
                    let left = time_left(until)?;
                    let (queue, _) =
                        self.subscriber.arrived.wait_timeout(queue, left).unwrap_or_else(|poison| poison.into_inner());
                    queue
                }
            };
        }
    }

    /// Ends [`EventStream::recv`] from another thread.
    pub fn canceller(&self) -> Canceller {
        let subscriber = Arc::downgrade(&self.subscriber);
        Canceller::new(move || {
            if let Some(subscriber) = subscriber.upgrade() {
                let mut queue = lock(&subscriber.queue);
                queue.ended = true;
                queue.events.clear();
                subscriber.arrived.notify_all();
            }
        })
    }
}

impl Iterator for EventStream {
    type Item = Arc<Event>;

    fn next(&mut self) -> Option<Arc<Event>> {
        self.recv()
    }
}

fn time_left(until_ns: i64) -> Option<Duration> {
    let until = UNIX_EPOCH + Duration::from_nanos(u64::try_from(until_ns).unwrap_or(0));
    until.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(bus: &Bus, action: &str) {
        bus.publish(Of::Container, action, "c1", [("image", "busybox".to_owned())].into_iter().collect());
    }

    #[test]
    fn events_reach_subscribers_in_order() {
        let bus = Bus::default();
        publish(&bus, "create");
        let from_now = bus.subscribe(None, None, |event| event.action != "attach");
        let from_start = bus.subscribe(Some(0), None, |_| true);
        for action in ["attach", "start"] {
            publish(&bus, action);
        }
        assert_eq!(from_now.recv().unwrap().action, "start");
        let actions: Vec<String> = (0..3).map(|_| from_start.recv().unwrap().action.clone()).collect();
        assert_eq!(actions, ["create", "attach", "start"]);
        from_now.canceller().cancel();
        assert!(from_now.recv().is_none());
        assert_eq!(bus.listeners(), 2);
        drop(from_now);
        assert_eq!(bus.listeners(), 1);
    }

    #[test]
    fn until_ends_and_the_ring_is_bounded() {
        let bus = Bus::default();
        for _ in 0..300 {
            publish(&bus, "start");
        }
        let past = bus.subscribe(Some(0), Some(i64::try_from(logs::time::now_ns()).unwrap()), |_| true);
        assert_eq!(past.count(), KEPT);
    }

    #[test]
    fn a_slow_subscriber_ends() {
        let bus = Bus::default();
        let slow = bus.subscribe(None, None, |_| true);
        for _ in 0..=QUEUED {
            publish(&bus, "start");
        }
        assert_eq!(slow.count(), QUEUED);
        assert_eq!(bus.listeners(), 0);
    }
}
