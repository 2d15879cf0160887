//! One module: the names in it, and the paths that its code uses.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::{collections::BTreeMap, path::PathBuf};
use syn::{UseTree, Visibility};

/// What a name in a module stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// An item that the module itself defines.
    Item,
    /// A child module, by its path from the root.
    Child(Vec<String>),
    /// The target of a `use`.
    Import(Vec<String>),
}

/// A `use` of one name, or of all names of a module.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// The path as written, without the `*` of a glob.
    pub(crate) path: Vec<String>,
    pub(crate) is_glob: bool,
    /// Whether other modules see the name too.
    pub(crate) is_reexport: bool,
    pub(crate) line: usize,
}

/// A path in code, which may be a single name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathUse {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
}

/// The contents of a module.
pub(crate) struct Module {
    /// The file, relative to the folder of the crate.
    pub(crate) file: PathBuf,
    pub(crate) names: BTreeMap<String, Binding>,
    pub(crate) imports: Vec<Import>,
    pub(crate) uses: Vec<PathUse>,
    /// The items except modules and imports.
    pub(crate) items: Vec<syn::Item>,
    /// Whether the whole module is compiled for tests only.
    pub(crate) is_test_only: bool,
}

impl Module {
    pub(crate) fn new(file: PathBuf) -> Self {
        let (names, imports, uses, items) = Default::default();
        Self { file, names, imports, uses, items, is_test_only: false }
    }

    pub(crate) fn set_test_only(&mut self) {
        self.is_test_only = true;
    }

    pub(crate) fn add_child(&mut self, name: &syn::Ident, path: Vec<String>) {
        self.names.insert(name.to_string(), Binding::Child(path));
    }

    pub(crate) fn add(&mut self, item: syn::Item) {
        if let syn::Item::Use(import) = &item {
            if import.leading_colon.is_none() {
                let is_reexport = !matches!(import.vis, Visibility::Inherited);
                self.add_tree(&mut Vec::new(), &import.tree, is_reexport);
            }
            return;
        }
        if let Some(name) = item_name(&item) {
            self.names.insert(name, Binding::Item);
        }
        let tokens = item.to_token_stream();
        for import in local_imports(tokens.clone()) {
            self.add_tree(&mut Vec::new(), &import.tree, false);
        }
        collect_paths(tokens, &mut self.uses);
        self.items.push(item);
    }

    fn add_tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree, is_reexport: bool) {
        let mut add = |path: &[String], name: Option<String>, is_glob: bool, line: usize| {
            // `use a::{self}` names `a`.
            let path = path.strip_suffix(&["self".to_owned()]).filter(|path| !path.is_empty()).unwrap_or(path).to_vec();
            if let Some(name) = name {
                let name = if name == "self" { path.last().cloned().unwrap_or_default() } else { name };
                self.names.insert(name, Binding::Import(path.clone()));
            }
            self.imports.push(Import { path, is_glob, is_reexport, line });
        };
        match tree {
            UseTree::Path(part) => {
                prefix.push(part.ident.to_string());
                self.add_tree(prefix, &part.tree, is_reexport);
                prefix.pop();
            }
            UseTree::Name(part) => {
                let name = part.ident.to_string();
                let path: Vec<String> = prefix.iter().cloned().chain([name.clone()]).collect();
                add(&path, Some(name), false, part.ident.span().start().line);
            }
            UseTree::Rename(part) => {
                let path: Vec<String> = prefix.iter().cloned().chain([part.ident.to_string()]).collect();
                let name = Some(part.rename.to_string()).filter(|name| name != "_");
                add(&path, name, false, part.ident.span().start().line);
            }
            UseTree::Glob(part) => add(prefix, None, true, part.star_token.spans[0].start().line),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(prefix, tree, is_reexport);
                }
            }
        }
    }
}

fn item_name(item: &syn::Item) -> Option<String> {
    Some(match item {
        syn::Item::Const(item) => item.ident.to_string(),
        syn::Item::Enum(item) => item.ident.to_string(),
        syn::Item::Fn(item) => item.sig.ident.to_string(),
        syn::Item::Macro(item) => item.ident.as_ref()?.to_string(),
        syn::Item::Static(item) => item.ident.to_string(),
        syn::Item::Struct(item) => item.ident.to_string(),
        syn::Item::Trait(item) => item.ident.to_string(),
        syn::Item::Type(item) => item.ident.to_string(),
        syn::Item::Union(item) => item.ident.to_string(),
        _ => return None,
    })
}

/// Returns true if these attributes contain `#[cfg(test)]` or make the function a test.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"));
        is_cfg || attribute.path().segments.last().is_some_and(|last| last.ident == "test")
    })
}

/// Returns the text of `#[path = "…"]`.
pub(super) fn own_path(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| match &attribute.meta {
        syn::Meta::NameValue(syn::MetaNameValue {
            value: syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }),
            ..
        }) => Some(text.value()),
        _ => None,
    })
}

/// Returns the `use` declarations inside the blocks of an item, except those of other crates that start with `::`.
fn local_imports(tokens: TokenStream) -> Vec<syn::ItemUse> {
    let (mut found, mut declaration) = (Vec::new(), None::<Vec<TokenTree>>);
    for token in tokens {
        match (&token, &mut declaration) {
            (TokenTree::Ident(word), None) if word == "use" => declaration = Some(vec![token]),
            (TokenTree::Punct(end), Some(_)) if end.as_char() == ';' => {
                let whole = declaration.take().into_iter().flatten().chain([token]).collect();
                // A macro may use the word for something else.
                found.extend(syn::parse2::<syn::ItemUse>(whole).ok().filter(|import| import.leading_colon.is_none()));
            }
            (_, Some(declaration)) => declaration.push(token),
            (TokenTree::Group(group), None) => found.extend(local_imports(group.stream())),
            (_, None) => {}
        }
    }
    found
}

/// Collects the paths in `tokens`, also in the arguments of macros. Fields and methods after a dot are left out, and
/// so are paths of other crates that start with `::`.
fn collect_paths(tokens: TokenStream, paths: &mut Vec<PathUse>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_punct =
        |at: usize, mark: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == mark);
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => collect_paths(group.stream(), paths),
            TokenTree::Ident(first) => {
                let follows_dot = at > 0 && is_punct(at - 1, '.') && !(at > 1 && is_punct(at - 2, '.'));
                let follows_colons = at > 1 && is_punct(at - 1, ':') && is_punct(at - 2, ':');
                let mut path = vec![first.to_string()];
                while is_punct(at + 1, ':') && is_punct(at + 2, ':') {
                    let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                    path.push(next.to_string());
                    at += 3;
                }
                if !follows_dot && !follows_colons {
                    paths.push(PathUse { path, line: first.span().start().line });
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(source: &str) -> Module {
        let mut module = Module::new(PathBuf::from("a.rs"));
        syn::parse_file(source).unwrap().items.into_iter().for_each(|item| module.add(item));
        module
    }

    fn check_imports(source: &str, expected_paths: &[&str], expected_names: &[&str]) {
        let module = module(source);
        let paths: Vec<_> = module.imports.iter().map(|import| import.path.join("::")).collect();
        assert_eq!(paths, expected_paths, "{source}");
        assert_eq!(module.names.keys().collect::<Vec<_>>(), expected_names, "{source}");
    }

    #[test]
    fn use_trees_are_flattened() {
        check_imports(
            "use crate::a::{self, B, c::{D as E, *}};",
            &["crate::a", "crate::a::B", "crate::a::c::D", "crate::a::c"],
            &["B", "E", "a"],
        );
        check_imports("use a::B as _; use ::c::D;", &["a::B"], &[]);
    }

    #[test]
    fn paths_are_found_in_code_and_macros() {
        let module = module("fn f() { a.b; crate::c::d(0..e); assert!(super::g::<h>(), ::i::j); }");
        let found: Vec<_> = module.uses.iter().map(|found| found.path.join("::")).collect();
        for (path, expected) in [
            ("a", true),
            ("b", false),
            ("crate::c::d", true),
            ("e", true),
            ("super::g", true),
            ("h", true),
            ("i::j", false),
        ] {
            assert_eq!(found.contains(&path.to_owned()), expected, "{path}: {found:?}");
        }
    }

    #[test]
    fn test_attributes_are_recognized() {
        let check = |source: &str, expected: bool| {
            let syn::Item::Fn(item) = syn::parse_str(source).unwrap() else { panic!("{source}") };
            assert_eq!(is_test_only(&item.attrs), expected, "{source}");
        };
        check("#[cfg(test)] fn f() {}", true);
        check("#[tokio::test] async fn f() {}", true);
        check("#[cfg(unix)] fn f() {}", false);
    }
}
