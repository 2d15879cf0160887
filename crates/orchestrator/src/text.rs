//! Error texts inside log lines and other messages.

/// Returns the error `text` on one line, for a log line or for the middle of another message. Its hint follows after a
/// semicolon.
pub(crate) fn one_line(text: &str) -> String {
    text.replace("\nhint: ", "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stays_on_the_same_line() {
        assert_eq!(one_line("the disk is full\nhint: free space"), "the disk is full; free space");
        assert_eq!(one_line("the disk is full"), "the disk is full");
    }
}
