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
fn the_readme_links_to_each_directive_once() {
    let text = read("README.md");
    let (_, rest) = text.split_once("\n## Directives\n").expect("the section");
    let section = rest.split("\n## ").next().expect("its text");
    let links = section.split("[`").skip(1).map(|rest| {
        let (name, rest) = rest.split_once("`](docs/directives.md#").expect("a link");
        let (target, _) = rest.split_once(')').expect("its end");
        assert_eq!(name, target, "{name} leads elsewhere");
        name
    });
    let links: Vec<_> = links.collect();
    assert_eq!(links.len(), all().len(), "one link each");
    assert_eq!(links.into_iter().collect::<BTreeSet<_>>(), all());
}
