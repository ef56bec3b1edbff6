//! The table and its tests belong together.

use std::path::Path;

use crate::support::rows;

const FILES: [&str; 5] = ["fleet", "kept", "purged", "refreshed", "several"];

#[test]
fn each_row_has_a_test_and_each_test_a_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/revocation");
    let mut tests: Vec<String> = Vec::new();
    for file in FILES {
        let text = std::fs::read_to_string(folder.join(format!("{file}.rs"))).expect("a file");
        let names = text.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
        tests.extend(names.map(str::to_owned));
    }
    let mut rows: Vec<String> = rows().into_iter().map(|row| row.test).collect();
    tests.sort();
    rows.sort();
    assert_eq!(rows, tests, "rows on the left, tests on the right");
}
