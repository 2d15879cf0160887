//! Recovers who signed a request. The signatures are those of EIP-191, see <https://eips.ethereum.org/EIPS/eip-191>.

use super::address::RequesterAddress;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use tiny_keccak::{Hasher, Keccak};

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak::v256();
    parts.iter().for_each(|part| hasher.update(part));
    let mut digest = [0; 32];
    hasher.finalize(&mut digest);
    digest
}

/// Returns the digest of `message` that is signed.
fn signed_digest(message: &[u8]) -> [u8; 32] {
    let length = message.len().to_string();
    keccak(&[b"\x19Ethereum Signed Message:\n", length.as_bytes(), message])
}

/// Returns the address that belongs to a public key.
fn address_of(key: &VerifyingKey) -> RequesterAddress {
    let point = key.to_encoded_point(false);
    // The first byte says that the point is not compressed.
    let digest = keccak(&[&point.as_bytes()[1..]]);
    let mut address = [0; 20];
    address.copy_from_slice(&digest[12..]);
    RequesterAddress(address)
}

/// Returns the address of the key that signed `message`. `None` if `signature` is not a valid signature. Every valid
/// signature has a signer: a wrong message or a damaged signature usually shows as an unknown address.
pub(super) fn signer_of(message: &[u8], signature: &[u8]) -> Option<RequesterAddress> {
    let (last, numbers) = signature.split_last()?;
    // sp1-sdk adds 27 twice when it signs the creation of an artifact, and once for everything else.
    let parity = match last {
        0 | 1 => *last,
        27 | 28 => last - 27,
        54 | 55 => last - 54,
        _ => return None,
    };
    let signature = Signature::from_slice(numbers).ok()?;
    let recovery = RecoveryId::from_byte(parity)?;
    let key = VerifyingKey::recover_from_prehash(&signed_digest(message), &signature, recovery).ok()?;
    Some(address_of(&key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::SigningKey;

    fn sign(key: &SigningKey, message: &[u8], added: u8) -> Vec<u8> {
        let (signature, recovery) = key.sign_prehash_recoverable(&signed_digest(message)).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(recovery.to_byte() + added);
        bytes
    }

    #[test]
    fn address_of_a_known_key_is_right() {
        // The key 1: its public key is the generator of the curve, and its address is well known.
        let mut secret = [0; 32];
        secret[31] = 1;
        let key = SigningKey::from_slice(&secret).unwrap();
        let address = address_of(key.verifying_key());
        assert_eq!(address.to_string(), "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf");
        for added in [0, 27, 54] {
            assert_eq!(signer_of(b"create_artifact", &sign(&key, b"create_artifact", added)), Some(address), "{added}");
        }
    }

    #[test]
    fn other_message_has_another_signer_and_damage_has_none() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let (address, signature) = (address_of(key.verifying_key()), sign(&key, b"one", 27));
        assert_ne!(signer_of(b"two", &signature), Some(address));
        assert_eq!(signer_of(b"one", &signature[..64]), None);
        assert_eq!(signer_of(b"one", &[]), None);
        assert_eq!(signer_of(b"one", &[0; 65]), None);
        assert_eq!(signer_of(b"one", &[255; 65]), None);
        let mut other = signature;
        other[64] = 29;
        assert_eq!(signer_of(b"one", &other), None);
    }
}
