//! The parties under measurement: an orchestrator in this process, and fake workers in processes of their own, with
//! real sessions over the loopback network. And a Redis server, for comparison.

mod fleet;
mod fleet_link;
mod fleet_process;
mod load_pool;
mod redis_process;

pub(crate) use fleet::{FleetArguments, serve_fleet};
pub(crate) use fleet_process::FleetProcess;
pub(crate) use load_pool::LoadPool;
pub(crate) use redis_process::RedisProcess;
