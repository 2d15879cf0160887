//! Addresses of requesters.

use std::{fmt, str::FromStr};

/// Address of a requester: the last 20 bytes of the Keccak-256 digest of their public key, as on Ethereum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequesterAddress(pub(super) [u8; 20]);

impl fmt::Display for RequesterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for RequesterAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix("0x").ok_or(())?;
        from_hex(digits).map(Self).ok_or(())
    }
}

/// Returns `bytes` in hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the bytes of a text of exactly so many hexadecimal digits, in upper or lower case.
pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_40_digits_in_any_case() {
        let address: RequesterAddress = "0xAb00000000000000000000000000000000000001".parse().unwrap();
        assert_eq!(address.to_string(), "0xab00000000000000000000000000000000000001");
        for text in ["", "0x", "ab00000000000000000000000000000000000001", "0xg", &format!("0x{}", "0".repeat(41))] {
            assert_eq!(text.parse::<RequesterAddress>(), Err(()), "{text}");
        }
    }

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(from_hex(&to_hex(&[0, 255, 16])), Some([0, 255, 16]));
        assert_eq!(from_hex::<2>("+1-2"), None);
        assert_eq!(from_hex::<2>("é12"), None);
    }
}
