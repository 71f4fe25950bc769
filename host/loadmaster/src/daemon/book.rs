//! What is written down: records for the journal, objects for the tree.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Engine, Key};
use lifecycle::Plan;
use model::Event;
use sha2::{Digest as _, Sha256};
use store::{Commit, Reader, Record, StoreError, Value};

use crate::wire;
use crate::wire::decision::AnyDecision;

/// Version of the encoding of all records and objects.
pub(crate) const SCHEMA: u16 = 1;

/// An input of the engine with its time ([`wire::event::Stamped`]).
pub const RECORD_EVENT: u16 = 1;
/// A decision about a pod ([`wire::decision::Decision`]).
pub const RECORD_DECISION: u16 = 2;
/// A decision about replicas ([`wire::scaling::ScalingDecision`]).
pub const RECORD_SCALING: u16 = 3;
/// A step in a policy's life ([`wire::policy::Transition`]).
pub(crate) const RECORD_TRANSITION: u16 = 4;
/// Another set decides ([`wire::policy::Hook`]).
pub(crate) const RECORD_HOOK: u16 = 5;
/// An operator let a guard go ([`wire::view::Approval`]).
pub(crate) const RECORD_APPROVAL: u16 = 6;

/// A decision about entry, order or quota ([`wire::plan::Admission`]).
pub const RECORD_ADMISSION: u16 = 7;
/// A plan made, done or given up ([`wire::plan::Plan`]).
pub const RECORD_PLAN: u16 = 8;

/// Records of one commit. Past this it is sealed at the next point where the
/// state is whole; a commit may have 16 MiB.
const COMMIT_BYTES: usize = 4 << 20;

/// Bytes reckoned for a changed object before it is written.
const OBJECT_BYTES: usize = 1 << 10;

/// The same for a scaled workload with its samples.
const SCALING_BYTES: usize = 512 << 10;

/// Bytes given to the store at once, below what it takes.
const GROUP_BYTES: usize = 12 << 20;

/// Changed objects of one commit, likewise.
const COMMIT_KEYS: usize = 4_096;

/// Key of an engine object in the tree.
pub(crate) fn object_key(key: &Key) -> Vec<u8> {
    match key {
        Key::Core => b"core/state".to_vec(),
        Key::Node(name) => [b"node/", name.as_bytes()].concat(),
        Key::Pod(name) => [b"pod/", name.as_bytes()].concat(),
        Key::Job(id) => [b"job/", id.as_bytes()].concat(),
        Key::Scaling(name) => [b"scaling/", name.as_bytes()].concat(),
        Key::Calendar(name) => [b"calendar/", name.as_bytes()].concat(),
        Key::Quota(name) => [b"quota/", name.as_bytes()].concat(),
        Key::Queue(name) => [b"queue/", name.as_bytes()].concat(),
        Key::Budget(name) => [b"budget/", name.as_bytes()].concat(),
        Key::Catalog(kind, name) => [b"catalog/", kind.as_bytes(), b"/", name.as_bytes()].concat(),
        Key::Plan(id) => format!("plan/{id:020}").into_bytes(),
    }
}

/// Prefixes of engine objects.
pub(crate) const OBJECT_PREFIXES: [&[u8]; 11] = [
    b"core/",
    b"node/",
    b"job/",
    b"pod/",
    b"scaling/",
    b"calendar/",
    b"quota/",
    b"queue/",
    b"budget/",
    b"catalog/",
    b"plan/",
];

/// Key of a kept answer. Hashed: callers choose their keys freely.
pub(crate) fn idempotency_key(key: &str) -> Vec<u8> {
    format!("idem/{}", hex(&Sha256::digest(key.as_bytes()))).into_bytes()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn value<T: serde::Serialize>(object: &T) -> Value {
    Value {
        schema: SCHEMA,
        bytes: wire::to_json(object),
    }
}

/// Collects a group and cuts it into commits, each of which leaves a state that
/// contradicts itself nowhere: a group that is torn by a crash is a state that
/// was.
#[derive(Default)]
pub(crate) struct Book {
    records: Vec<Record>,
    bytes: usize,
    changed: BTreeSet<Key>,
    extra: BTreeMap<Vec<u8>, Option<Value>>,
    sealed: Vec<Commit>,
    /// Nothing is written: there is no store.
    off: bool,
}

impl Book {
    pub(crate) fn new(has_store: bool) -> Self {
        Self {
            off: !has_store,
            ..Self::default()
        }
    }

    fn record<T: serde::Serialize>(&mut self, kind: u16, what: &T) {
        if self.off {
            return;
        }
        let payload = wire::to_json(what);
        self.bytes += payload.len();
        self.records.push(Record {
            kind,
            schema: SCHEMA,
            payload,
        });
    }

    /// An input, encoded before the engine consumes it.
    pub(crate) fn encode(&self, now_ms: u64, event: &Event) -> Option<Vec<u8>> {
        let stamped = || wire::event::Stamped {
            now_ms,
            event: event.into(),
        };
        (!self.off).then(|| wire::to_json(&stamped()))
    }

    pub(crate) fn event(&mut self, encoded: Option<Vec<u8>>) {
        if let Some(payload) = encoded {
            self.bytes += payload.len();
            self.records.push(Record {
                kind: RECORD_EVENT,
                schema: SCHEMA,
                payload,
            });
        }
    }

    pub(crate) fn decision(&mut self, decision: &model::Decision) {
        if !self.off {
            self.record(RECORD_DECISION, &wire::decision::Decision::from(decision));
        }
    }

    pub(crate) fn scaling(&mut self, decision: &model::scaling::ScalingDecision) {
        self.record(
            RECORD_SCALING,
            &wire::scaling::ScalingDecision::from(decision),
        );
    }

    pub(crate) fn admission(&mut self, record: &model::plan::AdmissionRecord) {
        if !self.off {
            self.record(RECORD_ADMISSION, &wire::plan::Admission::from(record));
        }
    }

    pub(crate) fn proposal(&mut self, plan: &model::plan::PlanRecord) {
        if !self.off {
            self.record(RECORD_PLAN, &wire::plan::Plan::from(plan));
        }
    }

    pub(crate) fn approval(&mut self, approval: &wire::view::Approval) {
        self.record(RECORD_APPROVAL, approval);
    }

    pub(crate) fn plan(&mut self, plan: &Plan) {
        for step in &plan.transitions {
            self.record(RECORD_TRANSITION, &wire::policy::Transition::from(step));
        }
        for policy in &plan.policies {
            let key = format!("policy/{}", policy.id.digest);
            self.put(key.into_bytes(), &wire::policy::Policy::from(policy));
        }
        if let Some(hook) = &plan.hook {
            let hook = wire::policy::Hook::from(hook);
            self.record(RECORD_HOOK, &hook);
            let kind = model::PolicyKind::from(hook.kind);
            self.put(format!("hook/{kind}").into_bytes(), &hook);
        }
    }

    pub(crate) fn changed(&mut self, keys: impl IntoIterator<Item = Key>) {
        if self.off {
            return;
        }
        for key in keys {
            let weight = match key {
                // Two weeks of samples and what the policy remembers.
                Key::Scaling(_) => SCALING_BYTES,
                _ => OBJECT_BYTES,
            };
            if self.changed.insert(key) {
                self.bytes += weight;
            }
        }
    }

    pub(crate) fn put<T: serde::Serialize>(&mut self, key: Vec<u8>, object: &T) {
        if !self.off {
            self.extra.insert(key, Some(value(object)));
        }
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        if !self.off {
            self.extra.insert(key, None);
        }
    }

    /// Closes the commit if it is large. Only called where the state is whole.
    pub(crate) fn maybe_seal(&mut self, engine: &Engine) {
        if self.bytes > COMMIT_BYTES || self.changed.len() > COMMIT_KEYS {
            self.seal(engine);
        }
    }

    fn seal(&mut self, engine: &Engine) {
        if self.records.is_empty() && self.changed.is_empty() && self.extra.is_empty() {
            return;
        }
        // Counters change with every event.
        self.changed.insert(Key::Core);
        let objects = std::mem::take(&mut self.changed).into_iter().map(|key| {
            let object = engine.export(&key).map(wire::object::Object::from);
            (object_key(&key), object.as_ref().map(value))
        });
        let puts = objects.chain(std::mem::take(&mut self.extra)).collect();
        self.bytes = 0;
        self.sealed.push(Commit {
            records: std::mem::take(&mut self.records),
            puts,
        });
    }

    /// Everything since the last time, as groups of commits that the store takes
    /// at once.
    pub(crate) fn take(&mut self, engine: &Engine) -> Vec<Vec<Commit>> {
        self.seal(engine);
        let mut groups: Vec<Vec<Commit>> = Vec::new();
        let mut room = 0;
        for commit in std::mem::take(&mut self.sealed) {
            let bytes = size(&commit);
            match groups.last_mut() {
                Some(group) if bytes <= room => {
                    room -= bytes;
                    group.push(commit);
                }
                _ => {
                    room = GROUP_BYTES.saturating_sub(bytes);
                    groups.push(vec![commit]);
                }
            }
        }
        groups
    }
}

fn size(commit: &Commit) -> usize {
    let records = commit.records.iter().map(|r| r.payload.len());
    let puts = commit.puts.iter();
    let objects = puts.map(|(key, value)| key.len() + value.as_ref().map_or(0, |v| v.bytes.len()));
    records.sum::<usize>() + objects.sum::<usize>()
}

/// The decision in a record; `None` for other records.
///
/// # Errors
/// It does not decode.
pub fn decision_of(record: &Record) -> Result<Option<AnyDecision>, wire::Invalid> {
    match record.kind {
        RECORD_DECISION => {
            wire::from_json(&record.payload).map(|d| Some(AnyDecision::Placement(d)))
        }
        RECORD_SCALING => wire::from_json(&record.payload).map(|d| Some(AnyDecision::Scaling(d))),
        _ => Ok(None),
    }
}

/// Commits read at a time when looking back.
const WINDOW: u64 = 4_096;

/// Windows looked back at most in one request: the answer has to come in
/// seconds. A cursor goes on from there.
const WINDOWS_MAX: u32 = 32;

/// Decisions from the journal, newest first, numbered below `before`.
pub(crate) fn older(
    reader: &Reader,
    before: u64,
    limit: usize,
    wanted: impl Fn(&AnyDecision) -> bool,
) -> Result<Vec<AnyDecision>, StoreError> {
    let mut found = Vec::new();
    let first = reader.journal_first()?;
    let mut end = reader.seq();
    for _ in 0..WINDOWS_MAX {
        if end < first || end == 0 || found.len() >= limit {
            break;
        }
        let from = end.saturating_sub(WINDOW - 1).max(first).max(1);
        let mut window = Vec::new();
        for entry in reader.journal(from)? {
            let entry = entry?;
            if entry.seq > end {
                break;
            }
            for record in &entry.commit.records {
                let decision = decision_of(record).map_err(|e| StoreError::ObjectDamaged {
                    key: format!("record of commit {}", entry.seq),
                    what: e.to_string(),
                })?;
                if let Some(d) = decision.filter(|d| d.id() < before && wanted(d)) {
                    window.push(d);
                }
            }
        }
        found.extend(window.into_iter().rev());
        end = from - 1;
    }
    found.truncate(limit);
    Ok(found)
}
