//! Runs are independent of each other: every one has its own engine and its own
//! instances, so they share the machine's cores and nothing else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::PolicyKind;
use serde_json::{Map, Value, json};

use crate::policies::{LoadError, Loaded, Loader, PolicyRef};

/// The policies of one column of the comparison, loaded.
#[derive(Debug, Clone)]
pub struct Choice {
    /// What the user typed, as short as it can be.
    pub label: String,
    /// All of one kind for every replay so far.
    pub policies: Vec<Loaded>,
}

impl Choice {
    /// Loads what was asked for.
    ///
    /// # Errors
    /// The first policy that cannot be had.
    pub fn load(loader: &Loader, asked: &[PolicyRef]) -> Result<Self, LoadError> {
        let policies = asked.iter().map(|p| loader.load(p));
        let label: Vec<String> = asked.iter().map(PolicyRef::short).collect();
        Ok(Self {
            label: label.join(" + "),
            policies: policies.collect::<Result<_, _>>()?,
        })
    }

    /// The `policies` object of a run: kind to name, version and digest.
    /// `settings` and `members` appear only where they say something.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut kinds = Map::new();
        for kind in PolicyKind::ALL {
            let of_kind: Vec<&Loaded> = self
                .policies
                .iter()
                .filter(|p| p.asked.kind == kind)
                .collect();
            let (Some(first), several) = (of_kind.first(), of_kind.len() > 1) else {
                continue;
            };
            let joined = |part: fn(&Loaded) -> &str| {
                let parts: Vec<&str> = of_kind.iter().map(|p| part(p)).collect();
                parts.join("+")
            };
            let mut object = json!({
                "name": joined(|p| &p.id.name),
                "version": joined(|p| &p.id.version),
                "digest": joined(|p| &p.id.digest),
            });
            if several {
                object["members"] = of_kind.iter().map(|p| member(p)).collect();
            } else if let Some(settings) = settings(first) {
                object["settings"] = settings;
            }
            kinds.insert(kind.to_string(), object);
        }
        Value::Object(kinds)
    }
}

fn member(policy: &Loaded) -> Value {
    let mut object = json!({
        "name": policy.id.name,
        "version": policy.id.version,
        "digest": policy.id.digest,
        "weight": f64::from(policy.asked.weight) / 1000.0,
    });
    if let Some(settings) = settings(policy) {
        object["settings"] = settings;
    }
    object
}

fn settings(policy: &Loaded) -> Option<Value> {
    let settings = serde_json::from_str(&policy.asked.settings).ok()?;
    (settings != json!({})).then_some(settings)
}

/// Does `work` for every task on at most `threads` threads and returns the
/// results in the order of the tasks. After a failure no new task is begun, and
/// the failure of the earliest task is returned.
///
/// # Errors
/// Of the earliest task that failed.
pub fn spread<T: Sync, R: Send, E: Send>(
    tasks: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<R, E>>>> =
        Mutex::new((0..tasks.len()).map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(at) else { break };
                    let result = work(task);
                    if result.is_err() {
                        next.store(tasks.len(), Ordering::Relaxed);
                    }
                    let mut results = results
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    results[at] = Some(result);
                }
            });
        }
    });
    let results = results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut done = Vec::with_capacity(tasks.len());
    let mut failure = None;
    for result in results {
        match result {
            Some(Ok(value)) => done.push(value),
            Some(Err(error)) => {
                failure.get_or_insert(error);
            }
            None => {}
        }
    }
    failure.map_or(Ok(done), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_tasks() {
        let tasks: Vec<u64> = (0..100).collect();
        let doubled = spread(&tasks, 8, |t| Ok::<_, ()>(t * 2)).unwrap();
        assert_eq!(doubled, (0..100).map(|t| t * 2).collect::<Vec<_>>());
        let none = spread(&[], 8, |t: &u64| Ok::<_, ()>(*t)).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn the_earliest_failure_is_returned() {
        let tasks: Vec<u64> = (0..100).collect();
        let failed = spread(&tasks, 1, |t| if *t < 3 { Ok(()) } else { Err(*t) });
        assert_eq!(failed, Err(3));
    }
}
