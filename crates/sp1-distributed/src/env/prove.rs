//! Proof requests to the prover that `SP1_PROVER` names.

use super::{pk::EnvProvingKey, prover::EnvProver};
use crate::{
    prover::{ProveRequest, Prover},
    request::{ProveOptions, apply_options, with_options},
};
use anyhow::Result;
use sp1_core_machine::io::SP1Stdin;
use sp1_sdk::{SP1ProofMode, SP1ProofWithPublicValues, StatusCode};
use std::{
    future::{IntoFuture, ready},
    pin::Pin,
};

/// A proof request. Awaiting it creates the proof.
pub struct EnvProveRequest<'a> {
    pub(crate) prover: &'a EnvProver,
    pub(crate) key: &'a EnvProvingKey,
    pub(crate) stdin: SP1Stdin,
    pub(crate) options: ProveOptions,
}

impl<'a> ProveRequest<'a, EnvProver> for EnvProveRequest<'a> {
    with_options!();
}

impl<'a> IntoFuture for EnvProveRequest<'a> {
    type Output = Result<SP1ProofWithPublicValues>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    #[allow(clippy::needless_question_mark, reason = "some provers return another error type")]
    fn into_future(self) -> Self::IntoFuture {
        let Self { prover, key, stdin, options } = self;
        macro_rules! ask {
            ($prover:expr, $pk:expr) => {{
                let request = apply_options!(Prover::prove($prover, $pk, stdin), options);
                Box::pin(async move { Ok(request.await?) })
            }};
        }
        match (prover, key) {
            (EnvProver::Cpu(prover), EnvProvingKey::Cpu { pk, .. }) => ask!(prover, pk),
            #[cfg(feature = "cuda")]
            (EnvProver::Cuda(prover), EnvProvingKey::Cuda { pk, .. }) => ask!(prover, pk),
            (EnvProver::Mock(prover), EnvProvingKey::Mock { pk, .. }) => ask!(prover, pk),
            (EnvProver::Light(prover), EnvProvingKey::Light { pk, .. }) => ask!(prover, pk),
            #[cfg(feature = "network")]
            (EnvProver::Network(prover), EnvProvingKey::Network { pk, .. }) => ask!(prover, pk),
            (EnvProver::Distributed(prover), EnvProvingKey::Distributed { pk, .. }) => ask!(prover, pk),
            (prover, key) => Box::pin(ready(Err(prover.refuse(key)))),
        }
    }
}
