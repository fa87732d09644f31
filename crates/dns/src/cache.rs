//! Answers of other servers, kept as long as their records say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::wire;

/// Most answers that are kept.
const MOST: usize = 4096;
/// Longest and, for what says nothing, only time.
const LONGEST: u32 = 3600;
/// For failures: long enough to spare a server that is in trouble.
const FAILURE: u32 = 1;

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Which servers: the sandbox's own list, or `None` for the host's.
    pub servers: Option<u64>,
    /// In lower case.
    pub question: Vec<u8>,
    /// What else the answer depends on, see [`crate::wire::Query::flavour`].
    pub flavour: u16,
}

struct Kept {
    message: Vec<u8>,
    since: Instant,
    until: Instant,
}

/// The kept answers.
#[derive(Default)]
pub(crate) struct Cache {
    kept: HashMap<Key, Kept>,
}

impl Cache {
    /// The answer, with the asker's number and what is left of its records' times.
    pub fn get(&self, key: &Key, id: u16, now: Instant) -> Option<Vec<u8>> {
        let kept = self.kept.get(key).filter(|kept| now < kept.until)?;
        let mut message = kept.message.clone();
        message[..2].copy_from_slice(&id.to_be_bytes());
        let passed = now.saturating_duration_since(kept.since).as_secs();
        wire::age(&mut message, u32::try_from(passed).unwrap_or(u32::MAX));
        Some(message)
    }

    /// Keeps an answer, unless it was cut short or nothing says for how long.
    pub fn put(&mut self, key: Key, message: &[u8], now: Instant) {
        let (code, truncated) = wire::outcome(message);
        let lifetime = match code {
            0 | 3 => wire::lifetime(message).unwrap_or(0).min(LONGEST),
            _ => FAILURE,
        };
        if truncated || lifetime == 0 {
            return;
        }
        if self.kept.len() >= MOST {
            self.kept.retain(|_, kept| now < kept.until);
        }
        if self.kept.len() >= MOST {
            // All alive: the one that ends first goes.
            if let Some(first) = self.kept.iter().min_by_key(|(_, kept)| kept.until).map(|(key, _)| key.clone()) {
                self.kept.remove(&first);
            }
        }
        let until = now + Duration::from_secs(lifetime.into());
        self.kept.insert(key, Kept { message: message.to_vec(), since: now, until });
    }

    /// The servers have changed.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_age_and_go() {
        let bytes = wire::question(1, "a.example", wire::A).unwrap();
        let query = wire::parse(&bytes).unwrap();
        let mut answer = query.answer(wire::Code::Fine);
        answer.address([192, 0, 2, 1].into(), 10);
        let message = answer.finish();
        let key = Key { servers: None, question: query.question.to_vec(), flavour: 0 };
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key.clone(), &message, start);
        let later = cache.get(&key, 9, start + Duration::from_secs(4)).unwrap();
        assert!(wire::answers(&later, 9, query.question));
        assert_eq!(wire::lifetime(&later), Some(6));
        assert!(cache.get(&key, 9, start + Duration::from_secs(10)).is_none());
        assert!(cache.get(&Key { servers: Some(1), ..key.clone() }, 9, start).is_none());
        cache.clear();
        cache.put(key.clone(), &wire::truncate(&message), start);
        assert!(cache.get(&key, 9, start).is_none(), "what was cut short is not kept");
        for n in 0..=MOST {
            cache.put(Key { servers: Some(n as u64), ..key.clone() }, &message, start);
        }
        assert_eq!(cache.kept.len(), MOST);
    }
}
