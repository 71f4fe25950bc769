//! Tokens refill by logical time alone, and the window slides.

use super::*;

const BUCKET: BucketSpec = BucketSpec {
    capacity: 3,
    refill_ms: 100,
};

#[test]
fn tokens_come_back_one_at_a_time_and_asking_changes_nothing() {
    assert_eq!(refilled(BUCKET, 3, 0, 5_000), (3, 5_000));
    assert_eq!(refilled(BUCKET, 0, 1_000, 1_099), (0, 1_000));
    assert_eq!(refilled(BUCKET, 0, 1_000, 1_250), (2, 1_200));
    assert_eq!(refilled(BUCKET, 0, 1_000, 9_000), (3, 9_000));
    // Asking in between gives the same as asking once.
    for middle in 1_000..1_300 {
        let (tokens, since) = refilled(BUCKET, 0, 1_000, middle);
        assert_eq!(
            refilled(BUCKET, tokens, since, 1_299),
            refilled(BUCKET, 0, 1_000, 1_299)
        );
    }
    let never = BucketSpec {
        refill_ms: 0,
        ..BUCKET
    };
    assert_eq!(refilled(never, 1, 0, u64::MAX), (1, u64::MAX));
}

#[test]
fn the_window_slides_and_approvals_are_used_beyond_it_only() {
    let mut budgets = Budgets::default();
    budgets.approve(2);
    for at in [0, 0, 100] {
        budgets.pay_system(SYSTEM_BUCKET, 3, at);
    }
    assert_eq!((budgets.in_window(100), budgets.approved()), (3, 2));
    budgets.pay_system(SYSTEM_BUCKET, 3, 200);
    assert_eq!((budgets.in_window(200), budgets.approved()), (3, 1));
    assert_eq!(budgets.room_at(3, 1), Some(GUARD_WINDOW_MS));
    assert_eq!(budgets.room_at(3, 3), Some(100 + GUARD_WINDOW_MS));
    assert_eq!(budgets.room_at(3, 4), None);
    assert_eq!(budgets.in_window(GUARD_WINDOW_MS), 1);
    budgets.pay_system(SYSTEM_BUCKET, 3, GUARD_WINDOW_MS + 100);
    assert_eq!(budgets.window(), [(GUARD_WINDOW_MS + 100, 1)]);
}

#[test]
fn the_system_bucket_empties_and_refills() {
    let mut budgets = Budgets::default();
    let system = BucketSpec {
        capacity: 2,
        refill_ms: 10,
    };
    budgets.pay_system(system, 100, 1_000);
    budgets.pay_system(system, 100, 1_000);
    assert_eq!(budgets.tokens(system, 1_009), 0);
    assert_eq!(budgets.tokens(system, 1_010), 1);
    assert_eq!(budgets.tokens(system, 1_020), 2);
    assert_eq!(budgets.tokens(system, 9_000), 2);
}
