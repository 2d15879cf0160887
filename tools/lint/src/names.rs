//! Types of the workspace that share a name: structs, enums, unions, traits and aliases of modules. A type alias of a
//! type with the same name is a re-export and does not count.

use crate::source::{crate_roots, is_test_only};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};
use syn::visit::{self, Visit};

/// This module mirrors the names of its parent on purpose.
const MIRROR: &str = "crates/sp1-distributed/src/blocking";

/// Returns one line per name that several types have, with all places.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut places: BTreeMap<String, BTreeSet<(PathBuf, usize)>> = BTreeMap::new();
    for crate_root in crate_roots(root)? {
        let folder = crate_root.folder.strip_prefix(root).unwrap_or(&crate_root.folder).to_owned();
        for module in crate_root.modules.values().filter(|module| !module.is_test_only) {
            let file = folder.join(&module.file);
            if file.starts_with(MIRROR) {
                continue;
            }
            for (name, line) in types(&module.items) {
                places.entry(name).or_default().insert((file.clone(), line));
            }
        }
    }
    let shared = places.into_iter().filter(|(_, places)| places.len() > 1);
    Ok(shared
        .map(|(name, places)| {
            let places: Vec<_> = places.iter().map(|(file, line)| format!("{}:{line}", file.display())).collect();
            format!("{name}: {}", places.join(" "))
        })
        .collect())
}

/// Returns the types that `items` define, with their lines. Types in functions are included.
fn types(items: &[syn::Item]) -> Vec<(String, usize)> {
    let mut collector = Collector::default();
    items.iter().for_each(|item| collector.visit_item(item));
    collector.found
}

#[derive(Default)]
struct Collector {
    found: Vec<(String, usize)>,
}

impl Collector {
    fn add(&mut self, name: &syn::Ident) {
        self.found.push((name.to_string(), name.span().start().line));
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Type(item) => &item.attrs,
            syn::Item::Union(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_test_only(attributes) {
            return;
        }
        match item {
            syn::Item::Enum(item) => self.add(&item.ident),
            syn::Item::Struct(item) => self.add(&item.ident),
            syn::Item::Trait(item) => self.add(&item.ident),
            syn::Item::Type(item) if !is_alias_of_same_name(item) => self.add(&item.ident),
            syn::Item::Union(item) => self.add(&item.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }
}

fn is_alias_of_same_name(alias: &syn::ItemType) -> bool {
    match &*alias.ty {
        syn::Type::Path(target) => target.path.segments.last().is_some_and(|last| last.ident == alias.ident),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn check_names(files: &[(&str, &str)], expected: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(check(root.path()).unwrap(), expected);
    }

    #[test]
    fn types_that_share_a_name_are_found_in_all_crates_and_programs() {
        check_names(
            &[
                ("crates/a/src/lib.rs", "mod b;\nstruct One;\nstruct Two;"),
                ("crates/a/src/b.rs", "enum One {}\nfn f() { struct Two; }"),
                ("crates/c/src/bin/d.rs", "\ntype Two = u8;\ntrait Three {}"),
            ],
            &[
                "One: crates/a/src/b.rs:1 crates/a/src/lib.rs:2",
                "Two: crates/a/src/b.rs:2 crates/a/src/lib.rs:3 crates/c/src/bin/d.rs:2",
            ],
        );
    }

    #[test]
    fn reexports_associated_types_tests_and_the_mirror_may_share_names() {
        check_names(
            &[
                ("crates/a/src/lib.rs", "pub use b::One; mod b;"),
                ("crates/a/src/b.rs", "pub struct One; impl Iterator for One { type Item = u8; } pub struct Item;"),
                (
                    "crates/c/src/lib.rs",
                    "pub type One = a::One; #[cfg(test)] mod tests { struct One; } #[cfg(test)] struct Item;",
                ),
                ("crates/sp1-distributed/src/lib.rs", "mod blocking;"),
                ("crates/sp1-distributed/src/blocking/mod.rs", "struct One;"),
            ],
            &[],
        );
    }
}
