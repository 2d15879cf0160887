//! A client that makes the same calls as sp1-sdk's network client, with the same bytes and signatures.

use k256::ecdsa::SigningKey;
use prost::Message;
use reqwest::StatusCode;
use std::time::{SystemTime, UNIX_EPOCH};
use tiny_keccak::{Hasher, Keccak};
use tonic::{Request, Status, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
pub(crate) mod network {
    tonic::include_proto!("network");
}

#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
pub(crate) mod artifact {
    tonic::include_proto!("artifact");
}

use artifact::{ArtifactType, CreateArtifactRequest, CreateArtifactResponse};
use network::{
    CreateProgramRequestBody, CreateProgramResponse, GetNonceRequest, GetNonceResponse, GetProgramRequest,
    GetProgramResponse, GetProofRequestStatusRequest, GetProofRequestStatusResponse, RequestProofRequestBody,
    RequestProofResponse, SignedRequest,
};

pub(crate) fn keccak(message: &[u8]) -> [u8; 32] {
    let (mut hasher, mut digest) = (Keccak::v256(), [0; 32]);
    hasher.update(message);
    hasher.finalize(&mut digest);
    digest
}

/// Returns the current time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns the hash of the verifying key that the fake runner gives to `elf`, as sp1-sdk sends it.
pub(crate) fn vk_hash(elf: &[u8]) -> Vec<u8> {
    let digest = blake3::hash(elf);
    let bit = |at: usize| u32::from((digest.as_bytes()[at / 8] >> (7 - at % 8)) & 1);
    let word = |number: usize| (0..31).fold(0, |word, at| (word << 1) | bit(8 + 31 * number + at));
    (0..8).flat_map(|number| u32::to_be_bytes(word(number))).collect()
}

/// Returns `elf` as sp1-sdk serializes it.
pub(crate) fn serialized(elf: &[u8]) -> Vec<u8> {
    [(elf.len() as u64).to_le_bytes().as_slice(), elf].concat()
}

pub(crate) fn compressed(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

#[derive(Clone)]
pub(crate) struct SdkClient {
    key: SigningKey,
    channel: Channel,
    pub(crate) http: reqwest::Client,
}

impl SdkClient {
    /// Returns a client with a key that belongs to `number`.
    pub(crate) fn new(url: &str, number: u32) -> Self {
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_slice(&secret).unwrap();
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect_lazy();
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { key, channel, http }
    }

    pub(crate) fn address(&self) -> Vec<u8> {
        let point = self.key.verifying_key().to_encoded_point(false);
        keccak(&point.as_bytes()[1..])[12..].to_vec()
    }

    pub(crate) fn address_text(&self) -> String {
        let digits: String = self.address().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("0x{digits}")
    }

    /// Signs `message` as sp1-sdk does. It adds 27 to the last byte, and for the creation of an artifact twice.
    pub(crate) fn sign(&self, message: &[u8], added: u8) -> Vec<u8> {
        let mut text = format!("\x19Ethereum Signed Message:\n{}", message.len()).into_bytes();
        text.extend(message);
        let (signature, recovery) = self.key.sign_prehash_recoverable(&keccak(&text)).unwrap();
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(recovery.to_byte() + added);
        bytes
    }

    pub(crate) fn signed(&self, body: &impl Message) -> SignedRequest {
        let body = body.encode_to_vec();
        SignedRequest { format: 1, signature: self.sign(&body, 27), body }
    }

    pub(crate) async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let response = client.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await?;
        Ok(response.into_inner())
    }

    pub(crate) async fn nonce(&self) -> Result<u64, Status> {
        let request = GetNonceRequest { address: self.address() };
        let response: GetNonceResponse = self.call("/network.ProverNetwork/GetNonce", request).await?;
        Ok(response.nonce)
    }

    pub(crate) async fn create_artifact(&self, kind: ArtifactType) -> Result<CreateArtifactResponse, Status> {
        let request =
            CreateArtifactRequest { signature: self.sign(b"create_artifact", 54), artifact_type: kind.into() };
        self.call("/artifact.ArtifactStore/CreateArtifact", request).await
    }

    pub(crate) async fn put(&self, url: &str, body: Vec<u8>) -> StatusCode {
        self.http.put(url).body(body).send().await.unwrap().status()
    }

    /// Uploads `content` and returns the name of the artifact.
    pub(crate) async fn upload(&self, kind: ArtifactType, content: &[u8]) -> Result<String, Status> {
        let created = self.create_artifact(kind).await?;
        assert_eq!(self.put(&created.artifact_presigned_url, compressed(content)).await, StatusCode::OK);
        Ok(created.artifact_uri)
    }

    pub(crate) async fn get_program(&self, elf: &[u8]) -> Result<GetProgramResponse, Status> {
        self.call("/network.ProverNetwork/GetProgram", GetProgramRequest { vk_hash: vk_hash(elf) }).await
    }

    /// Registers `elf` under the hash `vk_hash`.
    pub(crate) async fn create_program(&self, elf: &[u8], vk_hash: Vec<u8>) -> Result<CreateProgramResponse, Status> {
        let program_uri = self.upload(ArtifactType::Program, &serialized(elf)).await?;
        let body = CreateProgramRequestBody { nonce: self.nonce().await?, vk_hash, vk: vec![1; 200], program_uri };
        self.call("/network.ProverNetwork/CreateProgram", self.signed(&body)).await
    }

    /// Registers `elf` if it is not known.
    pub(crate) async fn register(&self, elf: &[u8]) -> Result<(), Status> {
        match self.get_program(elf).await {
            Err(status) if status.code() == tonic::Code::NotFound => {
                let created = self.create_program(elf, vk_hash(elf)).await?;
                assert_eq!(created.tx_hash.len(), 32);
                Ok(())
            }
            found => found.map(drop),
        }
    }

    /// Returns the body of a request for a proof of `elf` with `shards` shards.
    pub(crate) async fn body(&self, elf: &[u8], shards: u64) -> Result<RequestProofRequestBody, Status> {
        Ok(RequestProofRequestBody {
            stdin_uri: self.upload(ArtifactType::Stdin, b"stdin").await?,
            nonce: self.nonce().await?,
            vk_hash: vk_hash(elf),
            version: "sp1-fake".to_owned(),
            mode: 1,
            strategy: 1,
            deadline: now() + 3600,
            cycle_limit: shards,
            gas_limit: u64::MAX,
            min_auction_period: 0,
            whitelist: Vec::new(),
            stdin_private: false,
        })
    }

    pub(crate) async fn request_proof(&self, body: &RequestProofRequestBody) -> Result<Vec<u8>, Status> {
        let response: RequestProofResponse =
            self.call("/network.ProverNetwork/RequestProof", self.signed(body)).await?;
        let id = response.body.unwrap().request_id;
        assert_eq!((id.len(), response.tx_hash.len()), (32, 32));
        Ok(id)
    }

    pub(crate) async fn status(&self, id: &[u8]) -> Result<GetProofRequestStatusResponse, Status> {
        let request = GetProofRequestStatusRequest { request_id: id.to_vec() };
        self.call("/network.ProverNetwork/GetProofRequestStatus", request).await
    }

    /// Asks for the status until the request has ended.
    pub(crate) async fn ended(&self, id: &[u8]) -> GetProofRequestStatusResponse {
        loop {
            let status = self.status(id).await.unwrap();
            if status.fulfillment_status >= 3 {
                return status;
            }
        }
    }

    pub(crate) async fn fetch(&self, url: &str) -> (StatusCode, Vec<u8>) {
        let response = self.http.get(url).send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().to_vec())
    }
}
