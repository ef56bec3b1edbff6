//! Every directive of the module is documented, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;

use phantom_token_test::nginx::directives;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(path).expect(name)
}

fn all() -> BTreeSet<&'static str> {
    directives().iter().map(String::as_str).collect()
}

/// The words behind each `begin` at a line's start, up to `end`.
fn named<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(begin));
    lines.filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn each_directive_has_a_section_with_syntax_default_and_context() {
    let text = read("docs/directives.md");
    // Sections about several directives have other names.
    let sections = text.split("\n### ").filter(|section| section.starts_with("phantom_token"));
    let sections: Vec<_> = sections.collect();
    let names = sections.iter().filter_map(|section| section.lines().next());
    assert_eq!(names.collect::<BTreeSet<_>>(), all());
    assert_eq!(sections.len(), all().len(), "one section each");
    for section in sections {
        let name = section.lines().next().expect("a name");
        let syntax = format!("\n**Syntax:** `{name}");
        for part in [&syntax[..], "\n**Default:** ", "\n**Context:** `"] {
            assert!(section.contains(part), "{name} has no {part:?}");
        }
    }
}

#[test]
fn each_directive_stands_in_the_readme() {
    let text = read("README.md");
    let rows = named(&text, "| [`", "`](docs/directives.md#");
    assert_eq!(rows.len(), all().len(), "one row each");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), all());
    for name in all() {
        let link = format!("| [`{name}`](docs/directives.md#{name}) ");
        assert!(text.contains(&link), "{name}'s row leads elsewhere");
    }
}
