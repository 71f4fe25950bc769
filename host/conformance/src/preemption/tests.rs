//! The questions, as a host would ask them.

use super::question::Question;
use crate::case::preemption::{Action, May, preemption};
use crate::order::orders;

#[test]
fn nothing_is_given_out_twice() {
    for case in preemption().case {
        let q = Question::new(&case);
        for row in &q.rows {
            assert!(row.free.iter().all(|f| *f >= 0), "{}: {}", q.name, row.name);
            for gpu in &row.gpus {
                assert!(gpu.milli >= -1 && gpu.memory >= -1, "{}", q.name);
            }
        }
        let wanted: u32 = case.running.iter().map(|w| w.gpus).sum();
        let held: u32 = q.running.gpu_slots.iter().map(|s| s.count_ones()).sum();
        assert!(held >= wanted, "{}: a pod did not get its devices", q.name);
    }
}

#[test]
fn a_step_lists_only_what_it_may_touch() {
    for case in preemption().case {
        for work in &case.running {
            let fits = match case.action {
                Action::Consolidate => matches!(work.may, May::Move | May::Nothing),
                Action::Preempt if work.may != May::Nothing => {
                    let most = case.want.iter().map(|w| w.priority).min().unwrap_or(0);
                    work.priority + (work.vary.saturating_sub(1) as i32) < most
                }
                Action::Preempt | Action::Reclaim => true,
            };
            assert!(fits, "{}", case.name);
        }
    }
}

#[test]
fn a_nominated_domain_exists() {
    for case in preemption().case {
        let q = Question::new(&case);
        assert_eq!(
            q.preemptor.nominated.is_some(),
            case.nominated.is_some(),
            "{}",
            q.name
        );
    }
}

#[test]
fn one_case_is_at_full_size() {
    // The largest cluster the host is measured on.
    const FULL_SIZE: (usize, usize) = (5_000, 20_000);
    let cases = preemption().case;
    let full = cases.iter().map(Question::new);
    let size = |q: Question| (q.rows.len(), q.running.len());
    assert!(full.map(size).any(|size| size == FULL_SIZE));
}

#[test]
fn other_orders_ask_the_same() {
    for case in preemption().case {
        let q = Question::new(&case);
        if q.rows.len() > 100 {
            continue;
        }
        for order in orders(q.rows.len()) {
            let moved = q.with_rows(&order);
            for (at, row) in q.running.row.iter().zip(&moved.running.row) {
                assert_eq!(q.rows[*at as usize].id, moved.rows[*row as usize].id);
            }
            for (a, b) in q.domains.iter().zip(&moved.domains) {
                let ids = |q: &Question, rows: &[u32]| {
                    let mut ids: Vec<i32> = rows.iter().map(|r| q.rows[*r as usize].id).collect();
                    ids.sort_unstable();
                    ids
                };
                assert_eq!(ids(&q, &a.rows), ids(&moved, &b.rows), "{}", a.name);
            }
        }
    }
}
