//! The parts whose promises do not need a whole server.

use super::lanes::{Lanes, READS_MAX, Refused, WRITES_MAX};
use super::live::{Change, EVENTS_KEPT, Hub, Next};
use crate::wire::time::Time;

#[test]
fn full_lanes_refuse_and_closed_ones_are_emptied_first() {
    let lanes: Lanes<usize, usize> = Lanes::new();
    for i in 0..WRITES_MAX {
        assert_eq!(lanes.write(i), Ok(()));
    }
    assert_eq!(lanes.write(0), Err(Refused::Full));
    for i in 0..READS_MAX {
        assert_eq!(lanes.read(i), Ok(()), "writes take no place of reads");
    }
    assert_eq!(lanes.read(0), Err(Refused::Full));
    lanes.close();
    assert_eq!(lanes.write(0), Err(Refused::Closed));
    let first = lanes.take(1_000, None);
    assert_eq!((first.writes.len(), first.reads.len()), (1_000, READS_MAX));
    assert!(!first.closed, "what was accepted is still to be done");
    let rest = lanes.take(usize::MAX, None);
    assert_eq!(rest.writes.len(), WRITES_MAX - 1_000);
    assert!(rest.closed);
}

fn finished(n: usize) -> Change {
    Change::Finished { pod: n.to_string() }
}

fn number(next: Next) -> Option<u64> {
    match next {
        Next::Event(event) => Some(event.number),
        Next::Resync | Next::End => None,
    }
}

#[tokio::test]
async fn a_watcher_that_comes_back_misses_nothing_or_is_told() {
    let hub = Hub::new(7);
    hub.publish(Time(0), (0..10).map(finished));
    let mut same = hub.subscribe(Some((7, 4)));
    for expected in 5..=10 {
        assert_eq!(number(same.next().await), Some(expected));
    }
    hub.publish(Time(0), [finished(10)].into_iter());
    assert_eq!(number(same.next().await), Some(11), "then it goes on live");
    for gone in [(6, 4), (7, 900)] {
        let next = hub.subscribe(Some(gone)).next().await;
        assert!(matches!(next, Next::Resync), "{gone:?}");
    }
    hub.publish(Time(0), (0..EVENTS_KEPT).map(finished));
    assert!(matches!(
        hub.subscribe(Some((7, 4))).next().await,
        Next::Resync
    ));
    assert!(matches!(same.next().await, Next::Event(_)));
    hub.publish(Time(0), (0..2).map(finished));
    assert!(matches!(same.next().await, Next::Resync), "too slow");
    hub.close();
    assert!(matches!(hub.subscribe(None).next().await, Next::End));
}
