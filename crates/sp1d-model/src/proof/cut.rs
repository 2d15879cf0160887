//! The sentence about the cut of a proof, which all displays share.

/// Describes how a run is cut into shards. `setting` is the setting with its value, and `reason` says why it was
/// chosen: both as in the event [`Cut`](super::ProofEvent::Cut).
#[must_use]
pub fn cut_sentence(setting: &str, reason: &str) -> String {
    match setting.split_once('=') {
        Some((name, cells)) => {
            format!("the run is cut into shards of {cells} trace cells (setting {name}): {reason}")
        }
        // A service of another release may name its settings differently.
        None => format!("the run is cut into shards ({setting}): {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_the_shards_comes_before_the_name_of_the_setting() {
        for (setting, expected) in [
            ("CELLS=7", "the run is cut into shards of 7 trace cells (setting CELLS): the workers are small"),
            ("other", "the run is cut into shards (other): the workers are small"),
        ] {
            assert_eq!(cut_sentence(setting, "the workers are small"), expected);
        }
    }
}
