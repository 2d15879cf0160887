//! The routes of the interface.

use super::{
    calls::{self, CallContext},
    files,
    interface::HostedInterface,
    refusal::HostedRefusal,
};
use crate::{
    api::{body::PacedBody, problem::Problem},
    queue::ClientNetwork,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post, put},
};
use prost::Message;
use tonic::{Status, server::Grpc};
use tonic_prost::ProstCodec;

sp1d_model::limits! {
    /// Maximum length of a message of a call. The longest message contains a verifying key, which has less than a
    /// kilobyte.
    const MAX_MESSAGE_BYTES: usize = 64 << 10; Bytes by Client;
}

/// Returns the routes of `interface`.
pub(super) fn router(interface: HostedInterface) -> Router {
    Router::new()
        .route("/network.ProverNetwork/GetNonce", call("GetNonce", calls::get_nonce))
        .route("/network.ProverNetwork/GetProgram", call("GetProgram", calls::get_program))
        .route("/network.ProverNetwork/CreateProgram", call("CreateProgram", calls::create_program))
        .route("/network.ProverNetwork/RequestProof", call("RequestProof", calls::request_proof))
        .route("/network.ProverNetwork/GetProofRequestStatus", call("GetProofRequestStatus", calls::status))
        .route("/network.ProverNetwork/GetProofRequestDetails", call("GetProofRequestDetails", calls::details))
        .route("/artifact.ArtifactStore/CreateArtifact", call("CreateArtifact", calls::create_artifact))
        .route("/hosted/v1/files/{secret}", put(files::send))
        .route("/hosted/v1/proofs/{secret}", get(files::fetch))
        .fallback(unknown)
        .with_state(interface)
}

/// Returns the handler of the call `name`.
fn call<Q, A, F>(name: &'static str, work: fn(CallContext, Q) -> F) -> MethodRouter<HostedInterface>
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, HostedRefusal>> + Send + 'static,
{
    post(move |State(interface): State<HostedInterface>, request: Request| unary(interface, name, work, request))
}

async fn unary<Q, A, F>(
    interface: HostedInterface,
    name: &'static str,
    work: fn(CallContext, Q) -> F,
    request: Request,
) -> Response
where
    Q: Message + Default + Send + 'static,
    A: Message + Send + 'static,
    F: Future<Output = Result<A, HostedRefusal>> + Send + 'static,
{
    let limits = interface.service().settings().http;
    let base = interface.base(&asked_address(request.uri(), request.headers()));
    let from = request.extensions().get::<ClientNetwork>().copied();
    let request = request.map(|body| PacedBody::limit(body, &limits));
    let handler = tower::service_fn(move |asked: tonic::Request<Q>| {
        let interface = interface.clone();
        let context = CallContext { interface: interface.clone(), base: base.clone(), from };
        let working = work(context, asked.into_inner());
        async move {
            let outcome = working.await;
            let code = outcome.as_ref().map_or_else(HostedRefusal::code_name, |_| "ok");
            interface.service().metrics().on_hosted_call(name, code);
            outcome.map(tonic::Response::new).map_err(Status::from)
        }
    });
    let mut server = Grpc::new(ProstCodec::<A, Q>::default()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    server.unary(handler, request).await.map(Body::new)
}

/// Returns the address by which a client has reached the service.
fn asked_address(uri: &Uri, headers: &HeaderMap) -> String {
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
    uri.authority().map(|authority| authority.as_str()).or_else(host).unwrap_or("localhost").to_owned()
}

/// Refuses a call or path that does not exist.
async fn unknown(State(interface): State<HostedInterface>, uri: Uri, headers: HeaderMap) -> Response {
    let is_call =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !is_call {
        let text =
            format!("the service has no path {:.80}\nhint: the HTTP API has another port, see `--listen`", uri.path());
        return Problem::new(StatusCode::NOT_FOUND, "unknown_path", &text).into_response();
    }
    let refusal = HostedRefusal::unimplemented(uri.path().trim_start_matches('/'));
    interface.service().metrics().on_hosted_call("other", refusal.code_name());
    Status::from(refusal).into_http::<Body>()
}
