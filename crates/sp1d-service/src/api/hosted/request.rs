//! Checks what a client asks for. A field that this service does not serve is refused with its name, never ignored.

use super::{
    address::{RequesterAddress, from_hex, to_hex},
    program_hash::ProgramHash,
    refusal::HostedRefusal,
    signature::signer_of,
    wire::network::{
        FulfillmentStrategy, MessageFormat, ProofMode as WireMode, RequestProofRequestBody, SignedRequest,
    },
};
use prost::Message;
use sp1d_model::{ProofMode, TaskKind, counted};

/// Text that a client signs to create an artifact.
const ARTIFACT_TEXT: &[u8] = b"create_artifact";

/// Start of the name of an artifact. The client sends the name back as it got it.
const ARTIFACT_SCHEME: &str = "sp1d-artifact:";

sp1d_model::limits! {
    /// Longest time until the deadline of a request with `SP1_PROVER=hosted`: a year.
    const MAX_SECONDS: u64 = 366 * 24 * 60 * 60; Seconds by Client;
}

/// A request for a proof whose fields are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostedProofBody {
    pub(super) nonce: u64,
    pub(super) program: ProgramHash,
    pub(super) mode: ProofMode,
    /// Id of the artifact with the input.
    pub(super) input: [u8; 16],
    /// In seconds since 1970.
    pub(super) deadline: u64,
    /// Seconds until the deadline.
    pub(super) timeout_seconds: u64,
    /// `None` for no limit.
    pub(super) cycle_limit: Option<u64>,
    /// `None` for no limit.
    pub(super) gas_limit: Option<u64>,
    pub(super) private: bool,
}

/// Returns who signed the creation of an artifact.
pub(super) fn artifact_signer(signature: &[u8]) -> Result<RequesterAddress, HostedRefusal> {
    signer_of(ARTIFACT_TEXT, signature).ok_or_else(no_signature)
}

fn no_signature() -> HostedRefusal {
    HostedRefusal::unauthenticated(
        "the signature of the request is not valid\nhint: set NETWORK_PRIVATE_KEY to the key of an address that may ask for proofs",
    )
}

/// Returns who signed `request`, and its body.
pub(super) fn open_signed<B: Message + Default>(
    request: &SignedRequest,
) -> Result<(RequesterAddress, B), HostedRefusal> {
    match MessageFormat::try_from(request.format) {
        Ok(MessageFormat::Binary) => {}
        Ok(format) => {
            let name = format.as_str_name();
            return Err(HostedRefusal::invalid(format!("the format {name} is not supported: only BINARY is")));
        }
        Err(_) => {
            return Err(HostedRefusal::invalid(format!("unknown format {}: only BINARY is supported", request.format)));
        }
    }
    let signer = signer_of(&request.body, &request.signature).ok_or_else(no_signature)?;
    let body = B::decode(request.body.as_slice())
        .map_err(|error| HostedRefusal::invalid(format!("the body of the request cannot be decoded: {error}")))?;
    // The decoder skips fields that it does not know.
    if body.encode_to_vec() != request.body {
        return Err(HostedRefusal::invalid(
            "the body of the request has fields that this service does not know\nhint: run the program with SP1_PROVER=hosted, and build it against sp1-sdk 6.10",
        ));
    }
    Ok((signer, body))
}

/// Returns the name that a client gets for an artifact.
pub(super) fn artifact_uri(id: [u8; 16]) -> String {
    format!("{ARTIFACT_SCHEME}{}", to_hex(&id))
}

/// Returns the id of the artifact in the field `field`.
pub(super) fn artifact_id(uri: &str, field: &str) -> Result<[u8; 16], HostedRefusal> {
    uri.strip_prefix(ARTIFACT_SCHEME)
        .and_then(from_hex)
        .ok_or_else(|| HostedRefusal::invalid(format!("{field} `{uri:.80}` is not an artifact of this service")))
}

/// Returns the program hash in a field of a request.
pub(super) fn program_hash(bytes: &[u8]) -> Result<ProgramHash, HostedRefusal> {
    ProgramHash::new(bytes).ok_or_else(|| {
        let text = "vk_hash is not the hash of a verifying key: it must have 8 words of 4 bytes, each below 2^31";
        HostedRefusal::invalid(text)
    })
}

fn mode_of(mode: i32) -> Result<ProofMode, HostedRefusal> {
    match WireMode::try_from(mode) {
        Ok(WireMode::Core) => Ok(ProofMode::Core),
        Ok(WireMode::Compressed) => Ok(ProofMode::Compressed),
        Ok(WireMode::Plonk) => Ok(ProofMode::Plonk),
        Ok(WireMode::Groth16) => Ok(ProofMode::Groth16),
        Ok(WireMode::UnspecifiedProofMode) => Err(HostedRefusal::invalid("the request has no proof mode")),
        Err(_) => Err(HostedRefusal::invalid(format!("unknown proof mode {mode}"))),
    }
}

/// Checks the fields of a request at `now`, in seconds since 1970. `version` is the version of the circuits, as the
/// client names it.
pub(super) fn check_body(
    body: &RequestProofRequestBody,
    version: &str,
    now: u64,
) -> Result<HostedProofBody, HostedRefusal> {
    let invalid = |text: String| Err(HostedRefusal::invalid(text));
    if body.version != version {
        let found = &body.version;
        return invalid(format!(
            "the program uses the circuits {found:.40}, this service proves for {version}\nhint: build the program against the version of sp1-sdk that the service uses"
        ));
    }
    match FulfillmentStrategy::try_from(body.strategy) {
        Ok(FulfillmentStrategy::Hosted) => {}
        Ok(strategy) => {
            return invalid(format!(
                "the strategy {} is not offered: only HOSTED is\nhint: run the program with SP1_PROVER=hosted",
                strategy.as_str_name()
            ));
        }
        Err(_) => return invalid(format!("unknown strategy {}: only HOSTED is offered", body.strategy)),
    }
    let mode = mode_of(body.mode)?;
    let program = program_hash(&body.vk_hash)?;
    let input = artifact_id(&body.stdin_uri, "stdin_uri")?;
    if body.min_auction_period != 0 {
        return invalid(format!(
            "min_auction_period {} is not supported: this service holds no auctions",
            body.min_auction_period
        ));
    }
    if !body.whitelist.is_empty() {
        return invalid(format!(
            "whitelist with {} is not supported: this service chooses its workers itself",
            counted(body.whitelist.len(), "prover")
        ));
    }
    let cycle_limit = match body.cycle_limit {
        0 => return invalid("cycle_limit 0 lets no program run\nhint: leave it out for no limit".to_owned()),
        // No program runs for so many cycles. The database stores signed numbers.
        limit if i64::try_from(limit).is_err() => None,
        limit => Some(limit),
    };
    // In the protocol, a gas limit of 0 means that only the cycle limit counts. No program reaches the largest numbers.
    let gas_limit = Some(body.gas_limit).filter(|limit| *limit > 0 && i64::try_from(*limit).is_ok());
    let timeout_seconds = match body.deadline.checked_sub(now) {
        None | Some(0) => {
            return invalid(format!(
                "the deadline {} has passed: it is {now} (seconds since 1970)\nhint: check the clocks of both machines, or set a longer timeout",
                body.deadline
            ));
        }
        Some(seconds) if seconds > MAX_SECONDS => {
            return invalid(format!("the deadline {} is more than a year away", body.deadline));
        }
        Some(seconds) => seconds,
    };
    let (nonce, deadline, private) = (body.nonce, body.deadline, body.stdin_private);
    Ok(HostedProofBody { nonce, program, mode, input, deadline, timeout_seconds, cycle_limit, gas_limit, private })
}

/// Returns a task kind that a proof of `mode` needs and that none of the workers supports. `None` without workers: the
/// proof then waits for some.
pub(super) fn missing_kind(mode: ProofMode, workers: &[Vec<TaskKind>]) -> Option<TaskKind> {
    use TaskKind::{Groth16Wrap, NormalizeShard, PlonkWrap, ProveShard, RecursionReduce, ShrinkWrap};
    let needed: &[TaskKind] = match mode {
        ProofMode::Core => &[ProveShard],
        ProofMode::Compressed => &[NormalizeShard, RecursionReduce],
        ProofMode::Groth16 => &[NormalizeShard, RecursionReduce, ShrinkWrap, Groth16Wrap],
        ProofMode::Plonk => &[NormalizeShard, RecursionReduce, ShrinkWrap, PlonkWrap],
    };
    if workers.is_empty() {
        return None;
    }
    needed.iter().copied().find(|kind| !workers.iter().any(|worker| worker.contains(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Status;

    const NOW: u64 = 1_800_000_000;

    fn body() -> RequestProofRequestBody {
        RequestProofRequestBody {
            nonce: 150,
            vk_hash: vec![0x11; 32],
            version: "sp1-v6.1.0".into(),
            mode: 2,
            strategy: 1,
            stdin_uri: artifact_uri([7; 16]),
            deadline: NOW + 60,
            cycle_limit: u64::MAX,
            gas_limit: u64::MAX,
            min_auction_period: 0,
            whitelist: Vec::new(),
            stdin_private: true,
        }
    }

    /// The limits of cycles and of gas.
    type BodyLimits = (Option<u64>, Option<u64>);

    /// Checks the limits of a changed request, or that its refusal contains all of `expected`.
    #[track_caller]
    fn check(change: impl FnOnce(&mut RequestProofRequestBody), expected: Result<BodyLimits, &[&str]>) {
        let mut changed = body();
        change(&mut changed);
        match (check_body(&changed, "sp1-v6.1.0", NOW), expected) {
            (Ok(proof), Ok(limits)) => assert_eq!((proof.cycle_limit, proof.gas_limit), limits),
            (Err(refusal), Err(parts)) => {
                let status = Status::from(refusal);
                assert_eq!(status.code(), tonic::Code::InvalidArgument);
                for part in parts {
                    assert!(status.message().contains(part), "{status:?}");
                }
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn request_of_sp1_sdk_is_accepted() {
        let proof = check_body(&body(), "sp1-v6.1.0", NOW).unwrap();
        let expected = HostedProofBody {
            nonce: 150,
            program: ProgramHash::new(&[0x11; 32]).unwrap(),
            mode: ProofMode::Compressed,
            input: [7; 16],
            deadline: NOW + 60,
            timeout_seconds: 60,
            cycle_limit: None,
            gas_limit: None,
            private: true,
        };
        assert_eq!(proof, expected);
    }

    #[test]
    fn limits_that_no_program_reaches_are_no_limits() {
        check(|body| body.cycle_limit = 1000, Ok((Some(1000), None)));
        check(|body| (body.cycle_limit, body.gas_limit) = (1000, 0), Ok((Some(1000), None)));
        check(|body| body.gas_limit = 1 << 63, Ok((None, None)));
        check(|body| body.gas_limit = i64::MAX as u64, Ok((None, Some(i64::MAX as u64))));
        check(|body| body.gas_limit = 1, Ok((None, Some(1))));
        // sp1-sdk sends this limit if a program uses neither `hosted` nor a simulation.
        check(|body| body.gas_limit = 1_000_000_000, Ok((None, Some(1_000_000_000))));
    }

    #[test]
    fn refusal_names_what_is_not_served() {
        check(|body| body.version = "sp1-v5.0.0".into(), Err(&["sp1-v5.0.0", "sp1-v6.1.0"]));
        check(|body| body.strategy = 2, Err(&["RESERVED", "only HOSTED"]));
        check(|body| body.strategy = 3, Err(&["AUCTION", "SP1_PROVER=hosted"]));
        check(|body| body.strategy = 9, Err(&["unknown strategy 9"]));
        check(|body| body.mode = 0, Err(&["no proof mode"]));
        check(|body| body.mode = 9, Err(&["unknown proof mode 9"]));
        check(|body| body.vk_hash = vec![0x11; 31], Err(&["vk_hash"]));
        check(|body| body.vk_hash = vec![0xff; 32], Err(&["vk_hash"]));
        check(|body| body.stdin_uri = "s3://elsewhere".into(), Err(&["stdin_uri", "s3://elsewhere"]));
        check(|body| body.cycle_limit = 0, Err(&["cycle_limit 0"]));
        check(|body| body.min_auction_period = 5, Err(&["min_auction_period 5"]));
        check(|body| body.whitelist = vec![vec![1; 20]], Err(&["whitelist with 1"]));
        check(|body| body.deadline = NOW, Err(&["has passed", "1800000000"]));
        check(|body| body.deadline = 0, Err(&["has passed"]));
        check(|body| body.deadline = u64::MAX, Err(&["more than a year"]));
    }

    /// Captured by sp1-sdk's own test `reserved_proof_request_preserves_signing_bytes`.
    #[test]
    fn body_has_the_bytes_of_sp1_sdk() {
        let body = RequestProofRequestBody {
            nonce: 150,
            vk_hash: vec![0x11; 32],
            version: "sp1-v6.1.0".into(),
            mode: 2,
            strategy: 2,
            stdin_uri: "stdins/test".into(),
            deadline: 1_800_000_000,
            cycle_limit: 100_000,
            gas_limit: 200_000,
            min_auction_period: 30,
            whitelist: vec![vec![0x22; 20], vec![0x33; 20]],
            stdin_private: true,
        };
        let expected = concat!(
            "08960112201111111111111111111111111111111111111111111111111111111111111111",
            "1a0a7370312d76362e312e3020022802320b737464696e732f746573743880a4a7da0640a08d0648c09a0c501e",
            "5a1422222222222222222222222222222222222222225a1433333333333333333333333333333333333333336001"
        );
        assert_eq!(to_hex(&body.encode_to_vec()), expected);
    }

    #[test]
    fn format_and_unknown_fields_are_refused() {
        let signed = |format, body: Vec<u8>| SignedRequest { format, signature: vec![0; 65], body };
        let refused = |request: &SignedRequest| {
            Status::from(open_signed::<RequestProofRequestBody>(request).unwrap_err()).message().to_owned()
        };
        assert!(refused(&signed(2, Vec::new())).contains("JSON"));
        assert!(refused(&signed(7, Vec::new())).contains("unknown format 7"));
        assert!(refused(&signed(1, body().encode_to_vec())).contains("signature"));
    }

    #[test]
    fn only_kinds_that_no_worker_supports_are_missing() {
        let core = vec![TaskKind::ProveShard];
        let cpu = vec![TaskKind::NormalizeShard, TaskKind::RecursionReduce, TaskKind::ShrinkWrap];
        assert_eq!(missing_kind(ProofMode::Plonk, &[]), None);
        assert_eq!(missing_kind(ProofMode::Core, &[cpu.clone(), core.clone()]), None);
        assert_eq!(missing_kind(ProofMode::Compressed, std::slice::from_ref(&core)), Some(TaskKind::NormalizeShard));
        assert_eq!(missing_kind(ProofMode::Groth16, &[core, cpu]), Some(TaskKind::Groth16Wrap));
    }
}
