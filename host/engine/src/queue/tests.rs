use super::*;

fn order(queue: &mut Queue) -> Vec<u32> {
    let mut out = Vec::new();
    let prio = [5, 1, 9, 5];
    while let Some((class, pod)) = queue.head() {
        out.push(pod);
        queue.remove(class, prio[pod as usize], u64::from(pod), pod);
    }
    out
}

#[test]
fn higher_priority_first_then_arrival_across_classes() {
    let mut q = Queue::default();
    q.push(7, 5, 0, 0);
    q.push(3, 1, 1, 1);
    q.push(3, 9, 2, 2);
    q.push(7, 5, 3, 3);
    assert_eq!(order(&mut q), [2, 0, 3, 1]);
    assert_eq!(q.len(), 0);
}

#[test]
fn a_parked_class_does_not_hold_up_others_and_takes_newcomers_in() {
    let mut q = Queue::default();
    q.push(1, 9, 0, 0);
    q.push(2, 1, 1, 1);
    q.park(1, 100);
    assert_eq!(q.head(), Some((2, 1)));
    q.push(1, 50, 2, 2);
    assert_eq!(
        q.head(),
        Some((2, 1)),
        "a newcomer of a parked class waits too"
    );
    q.wake(1);
    assert_eq!(q.head(), Some((1, 2)));
}

#[test]
fn back_off_doubles_up_to_the_maximum_and_restarts_after_success() {
    let mut q = Queue::default();
    q.push(1, 0, 0, 0);
    let mut waits = Vec::new();
    for _ in 0..9 {
        q.park(1, 0);
        waits.push(q.retry_at(1).unwrap());
        q.wake(1);
    }
    assert_eq!(waits[..4], [1_000, 2_000, 4_000, 8_000]);
    assert_eq!(waits[8], BACKOFF_MAX_MS);
    q.succeeded(1);
    q.park(1, 0);
    assert_eq!(q.retry_at(1), Some(1_000));
    q.wake_due(999);
    assert_eq!(q.head(), None);
    q.wake_due(1_000);
    assert_eq!(q.head(), Some((1, 0)));
}

#[test]
fn a_refused_pod_waits_alone_and_comes_back_to_its_place() {
    let mut q = Queue::default();
    q.push(1, 0, 0, 0);
    q.push(1, 0, 1, 1);
    q.set_aside(1, 0, 100);
    assert_eq!(q.head(), Some((1, 1)), "its class goes on");
    assert_eq!(q.len(), 2);
    q.wake_due(100 + REFUSED_MS - 1);
    assert_eq!(q.head(), Some((1, 1)));
    q.wake_due(100 + REFUSED_MS);
    assert_eq!(q.head(), Some((1, 0)));
    q.set_aside(1, 0, 0);
    q.remove(1, 0, 1, 1);
    assert_eq!((q.head(), q.len()), (None, 1));
    q.wake(1);
    assert_eq!(
        q.head(),
        Some((1, 0)),
        "also when its line was empty meanwhile"
    );
    q.set_aside(1, 0, 0);
    q.remove(1, 0, 0, 0);
    assert_eq!((q.head(), q.len()), (None, 0));
}
