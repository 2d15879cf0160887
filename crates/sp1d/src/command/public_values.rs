//! Public values of a program, as people read them.

use sp1d_model::counted;

/// Number of bytes that are shown to people. JSON has all bytes.
const MAX_SHOWN_BYTES: usize = 256;

/// Returns all `values` in hexadecimal.
pub(super) fn hexadecimal(values: &[u8]) -> String {
    format!("0x{}", hex::encode(values))
}

/// Returns the start of `values` in hexadecimal, and their number.
pub(super) fn shown(values: &[u8]) -> String {
    let total = counted(values.len(), "byte");
    match values.get(..MAX_SHOWN_BYTES) {
        Some(start) if start.len() < values.len() => {
            format!("{}… (the first {MAX_SHOWN_BYTES} of {total})", hexadecimal(start))
        }
        _ => format!("{} ({total})", hexadecimal(values)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_and_counted() {
        assert_eq!(shown(&[]), "0x (0 bytes)");
        assert_eq!(shown(&[0x14]), "0x14 (1 byte)");
        assert_eq!(shown(&[0x14, 0xa3]), "0x14a3 (2 bytes)");
        assert_eq!(shown(&[7; 256]), format!("0x{} (256 bytes)", "07".repeat(256)));
        assert_eq!(shown(&[7; 1000]), format!("0x{}… (the first 256 of 1000 bytes)", "07".repeat(256)));
        assert_eq!(hexadecimal(&[7; 1000]).len(), 2 + 2 * 1000);
    }
}
