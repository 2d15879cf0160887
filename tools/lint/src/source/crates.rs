//! Finds the crates of a repository and follows their `mod` declarations.

use super::module::{Module, is_test_only, own_path};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A library or a binary, with all of its modules except those that are compiled for tests only.
pub(crate) struct CrateRoot {
    /// Name of the crate's folder.
    pub(crate) name: String,
    /// Folder that the paths of [`Module::file`] are relative to: `src` of the crate.
    pub(crate) folder: PathBuf,
    /// Modules by path, for example `["service", "events"]`. The root has an empty path. Inline modules are included.
    pub(crate) modules: BTreeMap<Vec<String>, Module>,
}

/// Returns the libraries and binaries of the crates in `root/crates`.
pub(crate) fn crate_roots(root: &Path) -> io::Result<Vec<CrateRoot>> {
    let folder = root.join("crates");
    let mut crates = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| named(&folder, error))? {
        crates.push(entry?.path());
    }
    crates.sort();
    let mut roots = Vec::new();
    for path in crates {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = path.join("src");
        let mut files = vec![PathBuf::from("lib.rs"), PathBuf::from("main.rs")];
        if let Ok(entries) = fs::read_dir(folder.join("bin")) {
            let mut programs: Vec<_> =
                entries.flatten().map(|entry| Path::new("bin").join(entry.file_name())).collect();
            programs.sort();
            files.extend(programs);
        }
        for file in files.into_iter().filter(|file| folder.join(file).is_file()) {
            let mut modules = BTreeMap::new();
            read_file(&folder, &file, &child_folder(&file, true), &[], &mut modules)?;
            roots.push(CrateRoot { name: name.clone(), folder: folder.clone(), modules });
        }
    }
    Ok(roots)
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// Returns the folder of the files of a file's child modules.
fn child_folder(file: &Path, is_root: bool) -> PathBuf {
    let parent = file.parent().unwrap_or(Path::new(""));
    let is_face = file.file_name().is_some_and(|name| name == "mod.rs");
    if is_root || is_face { parent.to_owned() } else { file.with_extension("") }
}

/// Reads `file`, which is the module `path`, and the files of its child modules.
fn read_file(
    folder: &Path,
    file: &Path,
    children: &Path,
    path: &[String],
    modules: &mut BTreeMap<Vec<String>, Module>,
) -> io::Result<()> {
    let full = folder.join(file);
    let text = fs::read_to_string(&full).map_err(|error| named(&full, error))?;
    let parsed = syn::parse_file(&text).map_err(|error| named(&full, error))?;
    read_items(folder, file, children, path, parsed.items, modules)
}

/// Adds the module `path` with these items, and its child modules.
fn read_items(
    folder: &Path,
    file: &Path,
    children: &Path,
    path: &[String],
    items: Vec<syn::Item>,
    modules: &mut BTreeMap<Vec<String>, Module>,
) -> io::Result<()> {
    let mut module = Module::new(file.to_owned());
    for item in items {
        let syn::Item::Mod(declared) = item else {
            module.add(item);
            continue;
        };
        let name = declared.ident.to_string();
        let child: Vec<String> = path.iter().cloned().chain([name.clone()]).collect();
        module.add_child(&declared.ident, child.clone());
        if let Some((_, items)) = declared.content {
            if is_test_only(&declared.attrs) {
                // Tests beside the code count as the file that they are in.
                let mut tests = Module::new(file.to_owned());
                tests.set_test_only();
                items.into_iter().for_each(|item| tests.add(item));
                modules.insert(child, tests);
            } else {
                read_items(folder, file, &children.join(&name), &child, items, modules)?;
            }
        } else if !is_test_only(&declared.attrs) {
            let beside = file.parent().unwrap_or(Path::new(""));
            let found = match own_path(&declared.attrs) {
                Some(path) => beside.join(path),
                None => {
                    let plain = children.join(&name).with_extension("rs");
                    if folder.join(&plain).is_file() { plain } else { children.join(&name).join("mod.rs") }
                }
            };
            read_file(folder, &found, &child_folder(&found, false), &child, modules)?;
        }
    }
    modules.insert(path.to_vec(), module);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes `files` of the crate `one` and returns its roots.
    pub(crate) fn roots(files: &[(&str, &str)]) -> Vec<CrateRoot> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join("crates/one/src").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        crate_roots(root.path()).unwrap()
    }

    #[test]
    fn modules_are_followed_from_each_root() {
        let roots = roots(&[
            ("lib.rs", "mod a; mod b; mod c { mod d {} } #[cfg(test)] mod tests;"),
            ("a.rs", "mod e; #[path = \"other.rs\"] mod f;"),
            ("a/e.rs", ""),
            ("other.rs", ""),
            ("b/mod.rs", "mod g;"),
            ("b/g.rs", ""),
            ("bin/tool.rs", ""),
            ("main.rs", "mod help;"),
            ("help.rs", ""),
        ]);
        let modules = |at: usize| -> Vec<_> {
            let modules: &BTreeMap<Vec<String>, Module> = &roots[at].modules;
            modules.iter().map(|(path, module)| (path.join("::"), module.file.display().to_string())).collect()
        };
        let expected = [
            ("", "lib.rs"),
            ("a", "a.rs"),
            ("a::e", "a/e.rs"),
            ("a::f", "other.rs"),
            ("b", "b/mod.rs"),
            ("b::g", "b/g.rs"),
            ("c", "lib.rs"),
            ("c::d", "lib.rs"),
        ];
        assert_eq!(modules(0), expected.map(|(path, file)| (path.to_owned(), file.to_owned())));
        let expected = [("", "main.rs"), ("help", "help.rs")];
        assert_eq!(modules(1), expected.map(|(path, file)| (path.to_owned(), file.to_owned())));
        assert_eq!(modules(2), [(String::new(), "bin/tool.rs".to_owned())]);
    }
}
