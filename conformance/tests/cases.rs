//! The list of cases, held against the specification.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use towline_conformance::cases;

/// The sections of the specification that hold rules, as cases name them.
fn sections() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec");
    let mut sections = BTreeSet::new();
    for page in ["start", "data", "framing"] {
        let text = fs::read_to_string(folder.join(page).with_extension("md")).expect("a page");
        // The first one is the page's own, and holds no rule.
        let ids = text.split("{#").skip(2).filter_map(|rest| rest.split_once('}'));
        sections.extend(ids.map(|(id, _)| format!("{page}#{id}")));
    }
    sections
}

/// Sections that no scripted peer can see the inside of, or not in the time that a case has.
const UNSEEN: &[(&str, &str)] = &[
    (
        "data#hoprnet-peers",
        "about times in which a deployed peer is easily upset: simulated ones are",
    ),
    ("data#id-exhaustion", "takes four billion frames"),
    (
        "data#silence",
        "takes as long as the idle timeout, and shows nothing that start#liveness does not",
    ),
];

#[test]
fn every_rule_that_a_case_names_is_in_the_specification() {
    let sections = sections();
    let named = cases::all().flat_map(|case| case.rules.iter().map(move |rule| (case.id, *rule)));
    let unknown: Vec<_> = named.filter(|(_, rule)| !sections.contains(*rule)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_section_that_shows_outside_has_a_case() {
    let named: BTreeSet<&str> = cases::all().flat_map(|case| case.rules).copied().collect();
    let unseen: BTreeSet<&str> = UNSEEN.iter().map(|&(section, _)| section).collect();
    let without: Vec<_> = sections()
        .into_iter()
        .filter(|section| !named.contains(&**section) && !unseen.contains(&**section))
        .collect();
    assert!(without.is_empty(), "{without:?}");
    assert!(named.is_disjoint(&unseen), "a case shows what is said not to show");
}

#[test]
fn ids_are_unique() {
    let ids: Vec<&str> = cases::all().map(|case| case.id).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len());
}
