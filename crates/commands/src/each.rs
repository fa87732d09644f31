//! One action on many objects: all are tried, names of the good ones on stdout, errors at the end.

use std::sync::Mutex;

use crate::failure::{Failure, Outcome};

const AT_ONCE: usize = 16;

/// Acts on every name, several at a time, and prints each name that went well in the order given. A failure without
/// text is none, only the name is not printed.
pub(crate) fn name(names: &[String], action: impl Fn(&str) -> Outcome + Sync) -> Outcome {
    let results = parallel(names, &action);
    let mut errors = Vec::new();
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(()) => crate::out::line(name)?,
            Err(failure) if failure.text.is_empty() => {}
            Err(failure) => errors.push(failure.text),
        }
    }
    join(errors)
}

/// Errors of several objects as one failure.
pub(crate) fn join(errors: Vec<String>) -> Outcome {
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

fn parallel(names: &[String], action: &(impl Fn(&str) -> Outcome + Sync)) -> Vec<Outcome> {
    if let [only] = names {
        return vec![action(only)];
    }
    let queue = Mutex::new(names.iter().enumerate());
    let results = Mutex::new(Vec::with_capacity(names.len()));
    std::thread::scope(|scope| {
        for _ in 0..names.len().min(AT_ONCE) {
            scope.spawn(|| {
                loop {
                    let Ok(Some((index, name))) = queue.lock().map(|mut q| q.next()) else { return };
                    let result = action(name);
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
