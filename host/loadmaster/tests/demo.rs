//! The demo plays to its end: everything decided, nothing failed or mixed.

use std::time::Duration;

use loadmaster::demo::{self, DemoOptions};
use sandbox::{Compiler, SandboxConfig};

fn options(seconds: u64) -> DemoOptions {
    DemoOptions {
        nodes: 24,
        seed: 7,
        duration: Duration::from_secs(seconds),
        port: Some(0),
        exit: true,
        swap: true,
        sandbox: SandboxConfig {
            compiler: Compiler::Exe(env!("CARGO_BIN_EXE_loadmaster").into()),
            ..SandboxConfig::default()
        },
    }
}

#[test]
fn a_small_demo_plays_to_its_end_and_swaps_without_losing_or_mixing_a_decision() {
    let outcome = demo::play(options(6)).unwrap();
    assert!(outcome.complete);
    assert_eq!(
        (outcome.failed, outcome.mixed, outcome.lost),
        (0, 0, 0),
        "{outcome:?}"
    );
    assert!(outcome.is_clean());
    assert!(outcome.swap_us.is_some(), "the policy was swapped");
    assert!(outcome.arrived > 20 && outcome.finished > 0, "{outcome:?}");
    assert!(outcome.decisions >= outcome.finished + outcome.running);
    let (same, compared) = outcome.same_before;
    assert!(compared > 0);
    assert_eq!(same, compared, "until the swap the ghost is the host");
    assert!(outcome.scaled > 0, "the service was scaled");
    for allocated in [outcome.allocated.0, outcome.allocated.1] {
        assert!(allocated > 0.0 && allocated <= 1.0, "{outcome:?}");
    }
}

#[test]
fn without_a_swap_the_ghost_stays_the_host() {
    let outcome = demo::play(DemoOptions {
        swap: false,
        ..options(4)
    })
    .unwrap();
    assert_eq!(outcome.swap_us, None);
    assert!(outcome.is_clean(), "{outcome:?}");
    assert_eq!(outcome.same_before.0, outcome.same_before.1);
}

#[test]
fn options_out_of_bounds_are_refused() {
    let refused = |options: DemoOptions| demo::play(options).unwrap_err().to_string();
    assert!(
        refused(DemoOptions {
            nodes: 0,
            ..options(4)
        })
        .contains("1 to")
    );
    assert!(refused(options(0)).contains("too short"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Some(taken.local_addr().unwrap().port());
    let error = demo::play(DemoOptions { port, ..options(4) }).unwrap_err();
    assert!(format!("{error:#}").contains("listen"), "{error:#}");
}
