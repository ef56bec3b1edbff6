//! The short form of `make soak`: a quarter of a minute of everything at once.

use std::time::Duration;

use phantom_token_test::soak::{Plan, run};

#[test]
fn everything_at_once_for_a_quarter_of_a_minute() {
    let plan = Plan { restart_every: Duration::from_secs(5), ..Plan::of(Duration::from_secs(15)) };
    let report = run(&plan);
    println!("{report}");
    assert_eq!(report.wrong, 0, "{report}");
    // What does not depend on how busy the machine is.
    for row in &report.rows {
        let steady = row.what.contains("left alone") && !row.what.ends_with("KiB");
        assert!(!steady || row.is_flat(), "{report}");
    }
    for (what, count) in &report.counts {
        // Kills may find no request under way.
        assert!(*count > 0 || what.contains("lost") || what.starts_with("sent again"), "no {what}");
    }
}
