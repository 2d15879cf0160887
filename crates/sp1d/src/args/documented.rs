//! Checks that the commands in README.md and in the guide are valid.

use super::CliArguments;
use clap::{Parser, error::ErrorKind};
use std::{
    fs, iter,
    path::{Path, PathBuf},
};

/// Returns README.md and the pages of the guide.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = fs::read_dir(root.join("docs/guide")).unwrap().map(|entry| entry.unwrap().path());
    let pages = guide.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.chain([root.join("README.md")]).collect()
}

/// Returns the lines of the console blocks in `page`. A line that ends with a backslash continues on the next one.
fn console_lines(page: &str) -> Vec<String> {
    let (mut lines, mut inside) = (Vec::new(), false);
    for line in page.replace("\\\n", " ").lines() {
        match line.trim_start().strip_prefix("```") {
            Some(language) => inside = language == "console",
            None if inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// Returns the `sp1d` commands in a line of a shell. Quotes are removed, because no argument contains a space.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default().replace(['"', '\''], "");
    line.split(['|', '&', ';', '(', ')']).filter_map(command).collect()
}

/// Returns the words of a command without its redirections, or `None` if it is not `sp1d`. For a container of `sp1d`,
/// they are the words of the command that it runs.
fn command(text: &str) -> Option<Vec<String>> {
    let (mut words, mut rest) = (Vec::new(), text.split_whitespace());
    while let Some(word) = rest.next() {
        match word {
            ">" | ">>" | "<" => {
                rest.next();
            }
            // The documents shorten the hash of a key.
            hash if hash.starts_with("0x") && hash.ends_with('…') => words.push(format!("0x{}", "0".repeat(64))),
            word => words.push(word.to_owned()),
        }
    }
    let is_prefix = |word: &String| word == "$" || word == "sudo" || word.contains('=');
    let start = words.iter().position(|word| !is_prefix(word))?;
    let words = words.split_off(start);
    match words[0].as_str() {
        "sp1d" => Some(words),
        "podman" | "docker" => command_of_container(&words),
        _ => None,
    }
}

/// Returns the command that a container of `sp1d` runs, or `None` if `words` run no such container.
fn command_of_container(words: &[String]) -> Option<Vec<String>> {
    if words.get(1)? != "run" {
        return None;
    }
    let image = words.iter().position(|word| word.contains("/sp1d:"))?;
    Some(iter::once("sp1d".to_owned()).chain(words.iter().skip(image + 1).cloned()).collect())
}

/// Returns the address in a command that `sp1d` refuses because it is for other machines, and the command has neither
/// `--tls` nor `--insecure`.
fn exposed_address(command: &[String]) -> Option<&str> {
    const FLAGS: [&str; 5] = ["--listen", "--join", "--health", "--join-listen", "--hosted"];
    const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
    let has = |flag: &str| command.iter().any(|word| word == flag);
    if !["worker", "serve"].contains(&command.get(1)?.as_str()) || has("--tls") || has("--insecure") {
        return None;
    }
    let pairs = command.iter().zip(command.iter().skip(1));
    let mut addresses = pairs.filter(|(flag, _)| FLAGS.contains(&flag.as_str())).map(|(_, address)| address.as_str());
    addresses.find(|address| !THIS_MACHINE.contains(&address.rsplit_once(':').map_or(*address, |(host, _)| host)))
}

/// Returns why a command is not valid.
fn problem(command: &[String]) -> Option<String> {
    // It takes its token from the environment.
    if command.starts_with(&["sp1d", "keys", "fetch"].map(str::to_owned)) {
        return None;
    }
    let text = command.join(" ");
    let Err(error) = CliArguments::try_parse_from(command) else {
        return exposed_address(command).map(|address| format!("{text}: {address} needs `--tls` or `--insecure`"));
    };
    let is_output = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!is_output).then(|| format!("{text}: {error}"))
}

#[test]
fn commands_are_found_in_lines_of_a_shell() {
    let check = |line: &str, expected: &[&str]| {
        let found: Vec<String> = commands(line).iter().map(|words| words.join(" ")).collect();
        assert_eq!(found, expected, "{line}");
    };
    check("cd sp1-distributed", &[]);
    check("sp1d doctor   # sp1d status", &["sp1d doctor"]);
    check("$ sp1d wait $id && sudo sp1d fetch $id proof.bin", &["sp1d wait $id", "sp1d fetch $id proof.bin"]);
    check("until [ \"$(sp1d workers | grep -c idle)\" = 2 ]; do sleep 5; done", &["sp1d workers"]);
    check("RUST_LOG=info sp1d status > file", &["sp1d status"]);
    check("sp1d verify --vkey key - < proof.bin", &["sp1d verify --vkey key -"]);
    check("podman run -v sp1d:/a --memory 1g r.example/sp1d:1 worker --join b:1", &["sp1d worker --join b:1"]);
    check("podman push r.example/sp1d:1", &[]);
}

#[test]
fn commands_in_the_documents_are_valid() {
    let (mut count, mut problems) = (0, Vec::new());
    for page in pages() {
        let lines = console_lines(&fs::read_to_string(&page).unwrap());
        for command in lines.iter().flat_map(|line| commands(line)) {
            count += 1;
            problems.extend(problem(&command).map(|problem| format!("{}: {problem}", page.display())));
        }
    }
    assert!(count > 50, "only {count} commands were found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_wrong_flag_in_a_document_is_found() {
    let words = |text: &str| commands(text).pop().unwrap();
    assert!(problem(&words("sp1d prove --elf a --outputs b")).is_some());
    assert_eq!(problem(&words("sp1d prove --elf a --output b")), None);
}

#[test]
fn a_command_that_needs_tls_or_insecure_in_a_document_is_found() {
    let words = |text: &str| commands(text).pop().unwrap();
    for (text, is_refused) in [
        ("sp1d worker --join 10.0.0.1:8091", true),
        ("sp1d worker --join 10.0.0.1:8091 --insecure", false),
        ("sp1d worker --join 10.0.0.1:8091 --tls worker.pem", false),
        ("sp1d worker --join 127.0.0.1:8091", false),
        ("sp1d serve --state a --join-listen 0.0.0.0:8091 --join-from any", true),
        ("docker run --gpus all r.example/sp1d:1 worker --join 10.0.0.1:8091 --gpus all", true),
    ] {
        assert_eq!(problem(&words(text)).is_some(), is_refused, "{text}");
    }
}
