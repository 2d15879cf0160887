//! The help of `./x`. Nothing is installed or compiled.

use std::{fs, path::Path, process::Command};

/// Widest line of a help in columns.
const MAX_COLUMNS: usize = 110;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the help that `./x` prints for these arguments. Checks that its lines are not too long.
#[track_caller]
fn help(arguments: &[&str]) -> String {
    let output = Command::new(root().join("x")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > MAX_COLUMNS).collect();
    assert!(long.is_empty(), "{arguments:?}: {long:?}");
    text
}

/// Checks that `text` has a line for each word that `./x` accepts: the labels of the shell's `case` after `start` that
/// have this indentation.
#[track_caller]
fn check_complete(text: &str, start: &str, indentation: usize) {
    let script = fs::read_to_string(root().join("x")).unwrap();
    let (_, cases) = script.rsplit_once(start).unwrap();
    let end = format!("{}esac", " ".repeat(indentation - 2));
    let labels = cases.lines().take_while(|line| !line.starts_with(&end)).filter_map(|line| {
        let label = line.split_once(')')?.0.strip_prefix(&" ".repeat(indentation))?;
        label.starts_with(|letter: char| letter.is_ascii_lowercase()).then_some(label)
    });
    let words: Vec<&str> = labels.flat_map(|label| label.split('|')).collect();
    assert!(words.len() > 10, "{words:?}");
    for word in words {
        assert!(text.contains(&format!("\n  {word} ")), "{word} is missing in {text}");
    }
}

#[test]
fn the_overview_is_short_and_has_a_line_for_each_command() {
    let text = help(&["help"]);
    assert!(text.lines().count() <= 25, "{text}");
    check_complete(&text, "\ncase $command in\n", 2);
}

#[test]
fn the_help_of_bench_has_a_line_for_each_bench() {
    check_complete(&help(&["bench", "--help"]), "\n  bench)\n", 6);
}

#[test]
fn a_command_explains_itself_in_two_ways() {
    for command in ["test", "bench", "check", "fix", "book", "demo"] {
        let text = help(&[command, "--help"]);
        assert!(text.contains(&format!("./x {command}")), "{text}");
        assert_eq!(help(&["help", command]), text);
    }
}
