//! Why a file in PEM form cannot be used, in words. The texts of rustls show the bytes of its lines as numbers.

use rustls::pki_types::pem::Error;
use sp1d_model::counted;

/// Says why a file with this `text` has no usable `what`, a private key or a certificate.
pub(crate) fn pem_problem(what: &str, text: &str, error: &Error) -> String {
    let is_cut_off = match error {
        Error::MissingSectionEnd { .. } => true,
        Error::IllegalSectionStart { line } => text.as_bytes().ends_with(line),
        _ => text.is_empty(),
    };
    match error {
        _ if is_cut_off => format!(
            "it ends too early, after {}\nhint: copy the file again, because a part at its end is missing",
            counted(text.len(), "byte")
        ),
        Error::IllegalSectionStart { line } => {
            format!("no {what} in PEM: the line {:?} is not valid", String::from_utf8_lossy(line).trim_end())
        }
        _ => format!("no {what} in PEM: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

    const KEY: &str = include_str!("../tests/keys/ec-pkcs8.pem");

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = PrivateKeyDer::from_pem_slice(text.as_bytes()).unwrap_err();
        let found = pem_problem("private key", text, &error);
        assert!(found.starts_with(expected), "{found}");
        assert_eq!(found.contains("\nhint: copy the file again"), expected.starts_with("it ends too early"), "{found}");
    }

    #[test]
    fn a_file_that_was_cut_off_is_reported_with_its_length() {
        for length in [0, 20, 60, KEY.trim_end().len() - 1] {
            check(&KEY[..length], &format!("it ends too early, after {length} bytes"));
        }
    }

    #[test]
    fn a_whole_file_without_a_key_is_not_reported_as_cut_off() {
        check("no key\n", "no private key in PEM: ");
        check(&KEY.replace("PRIVATE KEY-----", "OTHER-----"), "no private key in PEM: ");
        let line = r#"the line "-----BEGIN PRIVATE KEY-" is not valid"#;
        check(&KEY.replacen("-----\n", "-\n", 1), &format!("no private key in PEM: {line}"));
    }
}
