//! The rules of the house that no compiler checks: ranks of the folders, what the top of the tree holds, nothing left
//! unfinished, and documents that say what is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Lowest first. A file imports only from lower ranks or its own folder.
const RANKS: [&[&str]; 9] = [
    &["resp", "config", "error", "metrics", "clock"],
    &["breaker", "command", "tls"],
    &["backend", "source"],
    &["tier", "router"],
    &["acl", "proxy"],
    &["session"],
    &["admin"],
    &["server", "cli"],
    &["main"],
];

/// What the top of the tree may hold, besides names that start with a dot.
const TOP: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "bench",
    "config.toml",
    "docker",
    "scripts",
    "src",
    "tests",
];

/// A longer source file says why in the comment at its top.
const LONG_FILE: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below `folder` of the tree whose names end with `suffix`, with their text, sorted by path
/// relative to the root. What builds leave behind and version control are not the tree.
fn files(folder: &str, suffix: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(suffix)
                && name != ".git"
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push((relative(path), text));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: PathBuf) -> String {
    path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned()
}

/// Fails with every finding at once.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

/// The module of a source file right below the crate's root: `src/resp/frame.rs` and `src/resp.rs` are in `resp`.
fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// Source text without its comments, so that a document may point upwards.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The modules right below the crate's root that `text` names by a path from `crate`, groups included:
/// `crate::{error::Error, resp::{Frame, Kind}}` names error and resp.
fn imported(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, prefix) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|char| char.is_alphanumeric() || char == '_') {
            continue;
        }
        let rest = text[at + prefix.len()..].trim_start();
        match rest.strip_prefix('{') {
            None => modules.push(first_name(rest)),
            Some(group) => modules.extend(group_members(group)),
        }
    }
    modules
}

/// The first names of the members of a `{...}` whose opening brace was just read.
fn group_members(group: &str) -> Vec<String> {
    let (mut depth, mut members, mut start) = (1, Vec::new(), 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && char == ',') {
            members.push(first_name(group[start..at].trim_start()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    members.retain(|name| !name.is_empty());
    members
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

#[test]
fn imports_only_from_lower_ranks() {
    let mut findings = Vec::new();
    for (path, text) in files("src", ".rs") {
        let own = module_of(&path);
        if ["lib", "main"].contains(&own) {
            continue;
        }
        let Some(own_rank) = rank(own) else {
            findings.push(format!("{path}: {own} has no rank"));
            continue;
        };
        let text = without_comments(&text);
        for other in imported(&text).into_iter().filter(|other| other != own) {
            match rank(&other) {
                None => findings.push(format!("{path}: crate::{other} is no module with a rank")),
                Some(rank) if rank >= own_rank => findings.push(format!("{path}: {own} imports {other}")),
                Some(_) => {}
            }
        }
        // The ways to the crate's root that do not name it.
        let at_root =
            path.matches('/').count() == 1 || path.ends_with("/mod.rs") && path.matches('/').count() == 2;
        let leaves = at_root
            && text
                .lines()
                .any(|line| line.starts_with("use super::") || line.starts_with("pub use super::"));
        if leaves || text.contains("super::super::") {
            findings.push(format!("{path}: a path through super may leave the folder: say crate::"));
        }
    }
    report("a file imports only from lower ranks or its own folder", &findings);
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{error::Error, resp::{Frame, Kind},\n tier};\nfn f() -> crate::clock::Instant { $crate::metrics::x!() }\nuse my_crate::session;";
    assert_eq!(imported(text), ["error", "resp", "tier", "clock", "metrics"]);
    assert_eq!(
        imported(&without_comments("//! [`crate::session`]\nuse crate::resp; // crate::admin")),
        ["resp"]
    );
    assert_eq!([module_of("src/resp/frame.rs"), module_of("src/clock.rs")], ["resp", "clock"]);
}

#[test]
fn the_top_of_the_tree_holds_only_its_names() {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root()).expect("the root can be listed") {
        let name = entry.expect("a readable entry").file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !TOP.contains(&name.as_str()) {
            findings.push(name);
        }
    }
    report("the top of the tree holds only fixed names", &findings);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks =
        [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("FIX", "ME"), concat!("TO", "DO")];
    let mut findings = Vec::new();
    for (path, text) in ["src", "tests", "bench", "scripts"].iter().flat_map(|folder| files(folder, "")) {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                findings.push(format!("{path}:{}: {mark}", number + 1));
            }
        }
    }
    report("nothing is left unfinished", &findings);
}

#[test]
fn long_files_say_why() {
    let mut findings = Vec::new();
    for (path, text) in files("src", ".rs") {
        let top = text.lines().take_while(|line| line.starts_with("//") || line.is_empty());
        let lines = text.lines().count();
        if lines > LONG_FILE && !top.into_iter().any(|line| line.contains("Long because")) {
            findings.push(format!("{path}: {lines} lines"));
        }
    }
    report("a file over 400 lines says \"Long because\" in its first comment", &findings);
}

#[test]
fn documents_name_what_exists() {
    let mut findings = Vec::new();
    for script in ["scripts/run", "scripts/test", ".ci/run"] {
        let executable =
            fs::metadata(root().join(script)).is_ok_and(|data| data.permissions().mode() & 0o111 == 0o111);
        if !executable {
            findings.push(format!("{script} is not there or not executable"));
        }
    }
    for (path, text) in files("", ".md").into_iter().filter(|(path, _)| path != "CHANGELOG.md") {
        let folder = root().join(&path);
        let folder = folder.parent().unwrap_or(root());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") && !folder.join(link).exists() {
                findings.push(format!("{path}: no such file: {link}"));
            }
        }
        for script in text.split(['`', ' ', '\n']).filter(|word| word.starts_with("scripts/")) {
            if !root().join(script).exists() {
                findings.push(format!("{path}: no such script: {script}"));
            }
        }
    }
    report("documents name what exists", &findings);
}

#[test]
fn the_changelog_knows_this_version() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(text.lines().any(|line| line.starts_with(&heading)), "CHANGELOG.md has no heading {heading}");
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let places = ["work", "root", "home"].map(|folder| format!("/{folder}/"));
    let mut findings = Vec::new();
    for (path, text) in files("", "") {
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place.as_str())) {
                findings.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
        for source in text.lines().filter(|line| path == "Cargo.lock" && line.starts_with("source = ")) {
            if source != "source = \"registry+https://github.com/rust-lang/crates.io-index\"" {
                findings.push(format!("{path}: {source}"));
            }
        }
    }
    report("no file names the machine it was written on, nor a registry but crates.io", &findings);
}
