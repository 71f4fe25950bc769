use super::*;

/// Estimates with `n` jobs of one GPU that ended after `seconds`.
fn taught(seconds: f64, n: usize) -> Estimator {
    let mut e = Estimator::new(Evidence::Seen, n + 8);
    for job in 0..n {
        e.arrived(job, 1);
        e.ended(job, seconds);
    }
    e
}

#[test]
fn buckets_cover_everything_once() {
    let e = taught(1.0, 0);
    assert_eq!((e.bucket(0.0), e.bucket(59.9), e.bucket(60.0)), (0, 0, 1));
    assert_eq!(e.bucket(120.0), 5);
    assert_eq!(e.bucket(1e12), BUCKETS - 1);
    for (at, edge) in e.edges.iter().enumerate() {
        assert_eq!(e.bucket(*edge), at + 1);
        assert_eq!(e.left(at, edge - 0.5), 0.5);
        assert!(e.width(at) > 0.0 && e.width(at + 1) > 0.0);
    }
    assert!(e.left(BUCKETS - 1, 1e12) >= 1e12);
}

#[test]
fn repeated_jobs_are_recognised() {
    let mut e = taught(10_000.0, 20);
    e.arrived(20, 1);
    e.look();
    let fresh = e.remaining(20, 0.0);
    assert!((5_000.0..15_000.0).contains(&fresh), "{fresh}");
    let nearly = e.remaining(20, 9_000.0);
    assert!(nearly < 2_000.0, "{nearly}");
    // It outlived all it is like: back to the heavy tail.
    let outlier = e.remaining(20, 40_000.0);
    assert!(outlier > 2.0 * fresh, "{outlier}");
}

#[test]
fn the_longer_it_ran_the_longer_it_will_when_nothing_is_known() {
    let mut e = taught(1.0, 0);
    e.arrived(0, 4);
    e.look();
    let mut last = 0.0;
    for held in [100.0, 1_000.0, 10_000.0, 100_000.0] {
        let remaining = e.remaining(0, held);
        assert!(remaining > last, "{held}: {remaining}");
        last = remaining;
    }
}

#[test]
fn neighbours_say_more_than_jobs_of_the_size_and_these_more_than_others() {
    let mut e = Estimator::new(Evidence::Seen, 300);
    // A hundred long ones, then a batch of short ones, then one of another size.
    for job in 0..100 {
        e.arrived(job, 1);
        e.ended(job, 100_000.0);
    }
    for job in 100..120 {
        e.arrived(job, 1);
        e.ended(job, 300.0);
    }
    e.arrived(120, 1);
    e.arrived(121, 8);
    for job in 130..160 {
        e.arrived(job, 2);
        e.ended(job, 300.0);
    }
    e.arrived(161, 2);
    e.look();
    let batch = e.remaining(120, 0.0);
    let other = e.remaining(121, 0.0);
    assert!(batch < 600.0, "{batch}");
    assert!(other > 2.0 * batch, "{other} {batch}");
    assert!(e.remaining(161, 0.0) < other);
}

#[test]
fn unfinished_jobs_count_by_how_long_they_ran() {
    let run = |evidence| {
        let mut e = Estimator::new(evidence, 64);
        for job in 0..5 {
            e.arrived(job, 1);
            e.ended(job, 300.0);
        }
        for job in 5..25 {
            e.arrived(job, 1);
            e.served(job, 50_000.0);
        }
        e.arrived(25, 1);
        e.look();
        e.remaining(25, 0.0)
    };
    let (seen, finished) = (run(Evidence::Seen), run(Evidence::Finished));
    assert!(seen > 3.0 * finished, "{seen} {finished}");
}

#[test]
fn telling_it_twice_changes_nothing() {
    let run = |times: usize| {
        let mut e = Estimator::new(Evidence::Seen, 8);
        for job in 0..4 {
            e.arrived(job, 1);
            for _ in 0..times {
                e.served(job, 700.0);
            }
        }
        e.ended(0, 900.0);
        e.look();
        (1..4).map(|j| e.remaining(j, 700.0)).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(3));
}
