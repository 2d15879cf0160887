//! The attacks. Each is one function that does its harm once, or for as long as the victim lets it, and is called again
//! and again. It returns an error when the victim refuses it, which is what should happen.

mod attacks;
mod connections;
mod members;
mod requesters;
mod target;

pub(crate) use attacks::{ATTACKS, Attack, Party};
pub(crate) use connections::client_hello;
pub(crate) use target::{AttackCounts, AttackTarget};
