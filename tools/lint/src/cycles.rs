//! Import cycles between the files and folders of a crate.
//!
//! A file depends on the files that define the names it uses. A re-export is transparent: the name counts for the file
//! that defines it, and a `pub use` is a dependency only if its own file uses the name too. A face, which only declares
//! and re-exports, therefore has no dependencies. Files that are compiled for tests only are left out.
//!
//! A folder depends on what its files depend on. The files and folders of each folder must not have cycles, so a cycle
//! of files is always found, in the innermost folder that contains all of it.

use crate::source::{Binding, CrateRoot, Module, PathUse, crate_roots};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
};

/// What each file depends on, with the line that shows it.
type Dependencies = BTreeMap<PathBuf, BTreeMap<PathBuf, usize>>;

/// A use of one file by another one.
struct FileUse<'a> {
    user: &'a Path,
    used: &'a Path,
    line: usize,
}

/// What each file and each folder of one folder depends on. The names of folders end with a slash.
type FolderDependencies<'a> = BTreeMap<String, BTreeMap<String, FileUse<'a>>>;

/// Returns one finding per cycle of the crates in `root/crates`: a shortest cycle through each file or folder that is
/// in one, and the line of each import.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    Ok(crate_roots(root)?.iter().flat_map(|found| find(root, found)).collect())
}

fn find(repository: &Path, root: &CrateRoot) -> Vec<String> {
    let dependencies = dependencies(&root.modules);
    let mut findings = Vec::new();
    for folder in by_folder(&dependencies).values() {
        let mut seen = BTreeSet::new();
        for name in folder.keys() {
            let Some(cycle) = shortest_cycle(folder, name) else { continue };
            if seen.insert(cycle.iter().copied().collect::<BTreeSet<_>>()) {
                let names: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
                let mut finding = format!("{}: {}", root.name, names.join(" -> "));
                for pair in cycle.windows(2) {
                    let FileUse { user, used, line } = &folder[pair[0]][pair[1]];
                    let path = root.folder.join(user);
                    let path = path.strip_prefix(repository).unwrap_or(&path);
                    finding.push_str(&format!("\n  {}:{line} uses {}", path.display(), used.display()));
                }
                findings.push(finding);
            }
        }
    }
    findings
}

/// Returns the dependencies between the files and folders of each folder.
fn by_folder(dependencies: &Dependencies) -> BTreeMap<PathBuf, FolderDependencies<'_>> {
    let folders: BTreeSet<&Path> = dependencies.keys().flat_map(|file| file.ancestors().skip(1)).collect();
    // The file `a.rs` of the module `a` counts as a file of its folder `a/`, as `a/mod.rs` does.
    let folder_of = |file: &Path| {
        let own = file.with_extension("");
        if folders.contains(&*own) { own } else { file.parent().unwrap_or(Path::new("")).to_owned() }
    };
    let mut found: BTreeMap<PathBuf, FolderDependencies<'_>> = BTreeMap::new();
    for (user, all_used) in dependencies {
        for (used, line) in all_used {
            let (of_user, of_used) = (folder_of(user), folder_of(used));
            let common = of_user.ancestors().find(|folder| of_used.starts_with(folder)).unwrap_or(Path::new(""));
            let name =
                |file: &Path, folder: &Path| match folder.strip_prefix(common).ok().and_then(|rest| rest.iter().next())
                {
                    Some(child) => format!("{}/", common.join(child).display()),
                    None => file.display().to_string(),
                };
            let (user_name, used_name) = (name(user, &of_user), name(used, &of_used));
            let line = FileUse { user, used, line: *line };
            found.entry(common.to_owned()).or_default().entry(user_name).or_default().entry(used_name).or_insert(line);
        }
    }
    found
}

/// Returns a shortest path from `name` back to itself.
fn shortest_cycle<'a>(dependencies: &'a FolderDependencies<'_>, name: &'a String) -> Option<Vec<&'a String>> {
    // The node through which each node was reached first.
    let mut reached: BTreeMap<&String, &String> = BTreeMap::new();
    let mut queue = VecDeque::from([name]);
    while let Some(at) = queue.pop_front() {
        for next in dependencies.get(at).into_iter().flat_map(BTreeMap::keys) {
            if next == name {
                let mut cycle = vec![name, at];
                let mut before = at;
                while before != name {
                    before = reached[before];
                    cycle.push(before);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !reached.contains_key(next) {
                reached.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn dependencies(modules: &BTreeMap<Vec<String>, Module>) -> Dependencies {
    let resolver = Resolver { modules };
    let mut dependencies = Dependencies::new();
    for (path, module) in modules {
        let found = dependencies.entry(module.file.clone()).or_default();
        let mut add = |file: Option<&PathBuf>, line: usize| {
            if let Some(file) = file.filter(|file| **file != module.file) {
                found.entry(file.clone()).or_insert(line);
            }
        };
        for import in &module.imports {
            // Names of a glob and re-exported names count where the code of this file uses them.
            if !import.is_reexport {
                // The target of a glob is a module, or an enum whose variants it imports.
                add(resolver.file(path, &import.path), import.line);
            }
        }
        for PathUse { path: used, line } in &module.uses {
            let first = used[0].as_str();
            let is_relative = ["crate", "self", "super"].contains(&first);
            let is_named = match module.names.get(first) {
                Some(Binding::Item) => false,
                // Only a path through the module is a dependency.
                Some(Binding::Child(_)) => used.len() > 1,
                Some(Binding::Import(_)) => true,
                None => module.imports.iter().any(|import| import.is_glob),
            };
            if is_relative || is_named {
                add(resolver.file(path, used), *line);
            }
        }
    }
    dependencies
}

/// Finds the files that define names.
struct Resolver<'a> {
    modules: &'a BTreeMap<Vec<String>, Module>,
}

/// Where a path leads.
enum Target<'a> {
    Module(&'a [String]),
    Item(&'a PathBuf),
}

/// Longest chain of re-exports. Longer chains are loops.
const MAX_REEXPORTS: usize = 16;

impl<'a> Resolver<'a> {
    /// Returns the file that defines `path`, as used in module `from`. `None` for names of other crates and for a whole
    /// module.
    fn file(&self, from: &[String], path: &[String]) -> Option<&'a PathBuf> {
        match self.resolve(from, path, MAX_REEXPORTS)? {
            Target::Item(file) => Some(file),
            Target::Module(_) => None,
        }
    }

    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Target<'a>> {
        let depth = depth.checked_sub(1)?;
        let (from, _) = self.modules.get_key_value(from)?;
        let (mut at, mut rest) = (&from[..], path);
        match path.first()?.as_str() {
            "crate" => {
                at = &self.modules.get_key_value(&Vec::new())?.0[..];
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while let Some("super") = rest.first().map(String::as_str) {
                    at = &at[..at.len().checked_sub(1)?];
                    rest = &rest[1..];
                }
            }
            first => match self.lookup(at, first, depth)? {
                Target::Module(found) => {
                    at = found;
                    rest = &rest[1..];
                }
                item @ Target::Item(_) => return Some(item),
            },
        }
        for name in rest {
            match self.lookup(at, name, depth) {
                Some(Target::Module(found)) => at = found,
                Some(item @ Target::Item(_)) => return Some(item),
                // A name that a macro defines, or one of another crate that is re-exported with a glob.
                None => {
                    let module = self.modules.get(at)?;
                    let is_foreign = matches!(module.names.get(name), Some(Binding::Import(_)));
                    return (!is_foreign).then_some(Target::Item(&module.file));
                }
            }
        }
        Some(Target::Module(at))
    }

    /// Returns what `name` stands for in the module `at`.
    fn lookup(&self, at: &'a [String], name: &str, depth: usize) -> Option<Target<'a>> {
        let module = self.modules.get(at)?;
        match module.names.get(name) {
            Some(Binding::Item) => Some(Target::Item(&module.file)),
            Some(Binding::Child(path)) => Some(
                self.modules.get_key_value(path).map_or(Target::Item(&module.file), |(path, _)| Target::Module(path)),
            ),
            // `use a::a` would look for itself.
            Some(Binding::Import(path)) if path.first().map(String::as_str) == Some(name) => None,
            Some(Binding::Import(path)) => self.resolve(at, path, depth),
            None => {
                let depth = depth.checked_sub(1)?;
                module.imports.iter().filter(|import| import.is_glob).find_map(|import| {
                    let Target::Module(globbed) = self.resolve(at, &import.path, depth)? else { return None };
                    if globbed == at { None } else { self.lookup(globbed, name, depth) }
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::roots_of;

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let found: Vec<String> = roots_of(files).iter().flat_map(|root| find(Path::new(""), root)).collect();
        let heads: Vec<&str> = found.iter().map(|finding| finding.lines().next().unwrap()).collect();
        assert_eq!(heads, expected, "{files:?}");
    }

    #[test]
    fn files_that_import_each_other_are_a_cycle() {
        check(
            &[
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", "use crate::b::B; struct A;"),
                ("b.rs", "use super::a::A; struct B;"),
            ],
            &["one: a.rs -> b.rs -> a.rs"],
        );
        check(
            &[
                ("lib.rs", "mod a; mod b; mod c;"),
                ("a.rs", "fn a() { crate::b::b() }"),
                ("b.rs", "pub(crate) fn b() { assert!(crate::c::c()) }"),
                ("c.rs", "use crate::a; pub(crate) fn c() { a::a() }"),
            ],
            &["one: a.rs -> b.rs -> c.rs -> a.rs"],
        );
    }

    #[test]
    fn reexports_lead_to_the_defining_file() {
        let face = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;");
        check(&[face, ("a.rs", "use crate::B; struct A;"), ("b.rs", "struct B;")], &[]);
        check(
            &[face, ("a.rs", "use crate::B; struct A;"), ("b.rs", "use crate::A; struct B;")],
            &["one: a.rs -> b.rs -> a.rs"],
        );
        check(
            &[("lib.rs", "mod a; mod b;"), ("a.rs", "pub use crate::b::*;"), ("b.rs", "use crate::a::B; struct B;")],
            &[],
        );
    }

    #[test]
    fn a_parent_that_uses_its_child_must_not_be_imported_by_it() {
        let child = ("a/b.rs", "use super::A; struct B;");
        check(&[("lib.rs", "mod a;"), ("a.rs", "mod b; struct A; pub use b::B;"), child], &[]);
        check(
            &[("lib.rs", "mod a;"), ("a.rs", "mod b; struct A { b: B } pub use b::B;"), child],
            &["one: a.rs -> a/b.rs -> a.rs"],
        );
        check(
            &[("lib.rs", "mod a;"), ("a.rs", "mod b; struct A { b: b::B }"), child],
            &["one: a.rs -> a/b.rs -> a.rs"],
        );
    }

    #[test]
    fn folders_that_import_each_other_are_a_cycle() {
        let lib = ("lib.rs", "mod x; mod y;");
        let face = ("x/mod.rs", "mod a; mod b;");
        let files = [
            lib,
            face,
            ("x/a.rs", "use crate::y::Y; struct A;"),
            ("x/b.rs", "struct B;"),
            ("y.rs", "use crate::x::b::B; struct Y;"),
        ];
        check(&files, &["one: x/ -> y.rs -> x/"]);
        check(
            &[lib, face, ("x/a.rs", "use crate::y::Y; use super::b::B; struct A;"), files[3], ("y.rs", "struct Y;")],
            &[],
        );
    }

    #[test]
    fn tests_in_a_file_count_as_the_file_and_test_files_do_not_count() {
        let b = ("b.rs", "use crate::a::A; struct B;");
        let tests = "struct A; #[cfg(test)] mod tests { use super::*; use crate::b::B; }";
        check(&[("lib.rs", "mod a; mod b;"), ("a.rs", tests), b], &["one: a.rs -> b.rs -> a.rs"]);
        let tests = ("a/tests.rs", "use super::*; use crate::b::B;");
        check(&[("lib.rs", "mod a; mod b;"), ("a.rs", "struct A; #[cfg(test)] mod tests;"), tests, b], &[]);
    }

    #[test]
    fn globs_count_for_the_names_that_are_used() {
        let lib = ("lib.rs", "mod a; mod b;");
        let b = ("b.rs", "use crate::a::A; pub(crate) struct B; pub(crate) struct C;");
        check(&[lib, ("a.rs", "use crate::b::*; struct A(B);"), b], &["one: a.rs -> b.rs -> a.rs"]);
        check(&[lib, ("a.rs", "use crate::b::*; struct A;"), b], &[]);
    }

    #[test]
    fn imports_inside_functions_and_of_variants_count() {
        let lib = ("lib.rs", "mod a; mod b;");
        let b = ("b.rs", "use crate::a::A; pub(crate) struct B; pub(crate) enum C { D }");
        let cycle = &["one: a.rs -> b.rs -> a.rs"];
        check(&[lib, ("a.rs", "struct A; fn a() { use crate::b::{B, C}; B; }"), b], cycle);
        check(&[lib, ("a.rs", "use crate::b::C::*; struct A; fn a() { D; }"), b], cycle);
    }
}
