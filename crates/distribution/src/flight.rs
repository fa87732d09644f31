//! Transfers under way, so that two pulls of the same layer share one.
//!
//! The first to come leads; others follow its progress. When the leader is done they look into the store; when it
//! failed or was cancelled, one of them leads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oci::Digest;

/// By diff id: what the store has in the end.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<Digest, Arc<Flight>>>);

/// One transfer.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
    changed: Condvar,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) status: Cow<'static, str>,
    pub(crate) current: Option<u64>,
    pub(crate) total: Option<u64>,
    pub(crate) over: bool,
}

pub(crate) enum Turn<'f> {
    Lead(Lead<'f>),
    Follow(Arc<Flight>),
}

/// The leader's share; the transfer is over when it is dropped.
pub(crate) struct Lead<'f> {
    flights: &'f Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Flights {
    pub(crate) fn join(&self, key: Digest) -> Turn<'_> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key) {
            return Turn::Follow(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key, Arc::clone(&flight));
        Turn::Lead(Lead { flights: self, key, flight })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Waits a little for news; gives the state when it differs from `seen`.
    pub(crate) fn news(&self, seen: &State, patience: Duration) -> Option<State> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.changed.wait_timeout_while(state, patience, |state| state == seen);
        let (state, _) = result.unwrap_or_else(PoisonError::into_inner);
        (*state != *seen).then(|| state.clone())
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Lead<'_> {
    /// Tells the followers.
    pub(crate) fn tell(&self, status: Cow<'static, str>, current: Option<u64>, total: Option<u64>) {
        self.flight.set(|state| *state = State { status, current, total, over: false });
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
        self.flight.set(|state| state.over = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leads_and_the_others_follow() {
        let flights = Flights::default();
        let key = Digest::of(b"x");
        let Turn::Lead(lead) = flights.join(key) else { panic!("the first leads") };
        let Turn::Follow(flight) = flights.join(key) else { panic!("the second follows") };
        lead.tell("Downloading".into(), Some(1), Some(2));
        let seen = flight.news(&State::default(), Duration::from_secs(5)).unwrap();
        assert_eq!((seen.status.as_ref(), seen.current, seen.over), ("Downloading", Some(1), false));
        assert_eq!(flight.news(&seen, Duration::ZERO), None);
        drop(lead);
        assert!(flight.news(&seen, Duration::from_secs(5)).unwrap().over);
        assert!(matches!(flights.join(key), Turn::Lead(_)));
    }
}
