//! An archive in an S3-compatible object store. `rusty_s3` signs the requests; this module sends them.

mod bucket;
mod credentials;
mod respond;
mod settings;

pub(super) use bucket::S3Archive;
pub(super) use settings::S3Settings;
