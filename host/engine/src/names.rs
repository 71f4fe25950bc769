//! Strings as small numbers, in a way that cannot leak hash order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Name to slot. Only look-ups are possible, so that the order of the hash map
/// can never reach a decision.
#[derive(Debug, Default)]
pub(crate) struct NameIndex(HashMap<Arc<str>, u32>);

impl NameIndex {
    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }

    pub(crate) fn insert(&mut self, name: Arc<str>, slot: u32) {
        self.0.insert(name, slot);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Values that are given ids in order of first sight and never lose them.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    ids: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Interner<T> {
    pub(crate) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            values: Vec::new(),
        }
    }

    pub(crate) fn intern(&mut self, value: &T) -> u32 {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        let id = self.values.len() as u32;
        self.ids.insert(value.clone(), id);
        self.values.push(value.clone());
        id
    }

    pub(crate) fn get<Q>(&self, value: &Q) -> Option<u32>
    where
        T: std::borrow::Borrow<Q>,
        Q: Eq + std::hash::Hash + ?Sized,
    {
        self.ids.get(value).copied()
    }

    pub(crate) fn value(&self, id: u32) -> &T {
        &self.values[id as usize]
    }

    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

/// Values with ids for as long as somebody uses them: what tenants can invent
/// without end takes no more room than what is there.
#[derive(Debug)]
pub(crate) struct Counted<T> {
    ids: HashMap<T, u32>,
    slots: Vec<Option<(T, u32)>>,
    vacant: BTreeSet<u32>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            slots: Vec::new(),
            vacant: BTreeSet::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Counted<T> {
    /// The value's id, with one more user.
    pub(crate) fn join(&mut self, value: &T) -> u32 {
        if let Some(id) = self.ids.get(value) {
            if let Some((_, users)) = &mut self.slots[*id as usize] {
                *users += 1;
            }
            return *id;
        }
        let id = self.vacant.pop_first().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.ids.insert(value.clone(), id);
        self.slots[id as usize] = Some((value.clone(), 1));
        id
    }

    /// One user less. Returns whether the id is free again.
    pub(crate) fn leave(&mut self, id: u32) -> bool {
        let Some((value, users)) = &mut self.slots[id as usize] else {
            return false;
        };
        *users -= 1;
        if *users > 0 {
            return false;
        }
        self.ids.remove(value);
        self.slots[id as usize] = None;
        self.vacant.insert(id);
        true
    }

    /// The id of a value that somebody uses.
    pub(crate) fn get<Q>(&self, value: &Q) -> Option<u32>
    where
        T: std::borrow::Borrow<Q>,
        Q: Eq + std::hash::Hash + ?Sized,
    {
        self.ids.get(value).copied()
    }

    /// # Panics
    /// If nobody uses the id, which only a bug of the engine can ask for.
    pub(crate) fn value(&self, id: u32) -> &T {
        match &self.slots[id as usize] {
            Some((value, _)) => value,
            None => panic!("id {id} is not in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_live_as_long_as_their_users() {
        let mut names = Counted::default();
        let (a, b) = (names.join(&"a"), names.join(&"b"));
        assert_eq!((a, b, names.join(&"a")), (0, 1, 0));
        assert!(!names.leave(a), "one user is left");
        assert!(names.leave(a));
        assert_eq!(names.join(&"c"), a, "the lowest free id is used again");
        assert_eq!((*names.value(a), *names.value(b)), ("c", "b"));
    }
}
