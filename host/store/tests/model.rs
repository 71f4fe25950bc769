//! Random histories against a map, with the store closed, dropped, or robbed of
//! its tree between any two steps.

mod common;

use std::collections::BTreeMap;

use common::{Dir, content, small};
use proptest::prelude::*;
use store::{Commit, Store, Value};

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Vec<(u8, Option<u8>)>>),
    Checkpoint,
    Snapshot,
    Close,
    Drop,
    LoseTree,
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0..30_u8, proptest::option::weighted(0.8, any::<u8>()));
    let group = prop::collection::vec(prop::collection::vec(put, 0..5), 1..5);
    prop_oneof![
        12 => group.prop_map(Step::Commit),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Close),
        1 => Just(Step::Drop),
        1 => Just(Step::LoseTree),
    ]
}

fn key(n: u8) -> Vec<u8> {
    format!("{}/{n}", ["a", "b", "long-prefix"][usize::from(n % 3)]).into_bytes()
}

fn value(n: u8) -> Value {
    Value {
        schema: u16::from(n),
        bytes: vec![n; usize::from(n) * 3],
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: common::setting("LOADMASTER_MODEL_CASES", 40) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_is_a_map_with_a_history(steps in prop::collection::vec(step(), 1..40)) {
        let dir = Dir::new("model");
        let mut store = Store::open(&dir.0, small()).unwrap().0;
        let mut model = BTreeMap::new();
        let mut history = Vec::new();
        for step in steps {
            match step {
                Step::Commit(group) => {
                    let group: Vec<Commit> = group
                        .into_iter()
                        .map(|puts| Commit {
                            records: Vec::new(),
                            puts: puts.into_iter().map(|(k, v)| (key(k), v.map(value))).collect(),
                        })
                        .collect();
                    let info = store.commit(&group).unwrap();
                    prop_assert_eq!(info.first_seq, history.len() as u64 + 1);
                    for commit in group {
                        history.push(commit.clone());
                        for (key, value) in commit.puts {
                            match value {
                                Some(value) => model.insert(key, (history.len() as u64, value)),
                                None => model.remove(&key),
                            };
                        }
                    }
                }
                Step::Checkpoint => store.checkpoint().unwrap(),
                Step::Snapshot => {
                    let info = store.snapshot(None).unwrap();
                    prop_assert_eq!(info.objects, model.len() as u64);
                }
                Step::Close => {
                    store.close().unwrap();
                    store = Store::open(&dir.0, small()).unwrap().0;
                }
                Step::Drop => {
                    drop(store);
                    store = Store::open(&dir.0, small()).unwrap().0;
                }
                Step::LoseTree => {
                    let root = store.root();
                    drop(store);
                    std::fs::remove_dir_all(dir.join("tree")).unwrap();
                    store = Store::open(&dir.0, small()).unwrap().0;
                    prop_assert_eq!(store.root(), root);
                }
            }
            prop_assert_eq!(&content(&store).unwrap(), &model);
        }
        let replayed: Vec<Commit> =
            store.reader().journal(1).unwrap().map(|e| e.unwrap().commit).collect();
        prop_assert_eq!(replayed, history);
    }
}
