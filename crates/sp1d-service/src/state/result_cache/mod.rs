//! The result cache on disk. A restarted service does not prove tasks again whose results are in it.

mod cache;
mod file_format;
mod index;
mod start;

pub(crate) use cache::DiskResultCache;
pub(crate) use file_format::{read as read_cache_file, write as write_cache_file};
pub(crate) use start::CacheStart;
